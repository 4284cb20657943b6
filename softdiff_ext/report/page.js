"use strict";

const SECONDS = 3.5; // of a film from its first to its last frame

function startPlayer(figure) {
  const film = JSON.parse(figure.querySelector("script").textContent);
  const slider = figure.querySelector("input");
  const button = figure.querySelector("button");
  const output = figure.querySelector("output");
  const last = film.labels.length - 1;
  const strips = [...figure.querySelectorAll(".tiles")].map((tiles, index) => {
    const sprite = new Image();
    sprite.src = film.sprites[index];
    return { sprite, canvases: [...tiles.querySelectorAll("canvas")] };
  });
  let timer = 0;

  function show(frame) {
    slider.value = frame;
    slider.setAttribute("aria-valuetext", film.labels[frame]);
    output.textContent = film.labels[frame];
    for (const { sprite, canvases } of strips) {
      if (!sprite.complete) continue;
      canvases.forEach((canvas, column) => {
        const { width, height } = canvas;
        canvas.getContext("2d").drawImage(sprite, column * width, frame * height, width, height, 0, 0, width, height);
      });
    }
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  }

  function play() {
    if (Number(slider.value) >= last) show(0);
    button.textContent = "Pause";
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) >= last) stop();
    }, Math.max(40, (SECONDS * 1000) / last));
  }

  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  button.addEventListener("click", () => (timer ? stop() : play()));
  strips.forEach(({ sprite }) => sprite.addEventListener("load", () => show(Number(slider.value))));
  show(Number(slider.value));
}

function startChart(figure) {
  const { first, last, left, width, curves } = JSON.parse(figure.dataset.chart);
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const words = figure.querySelector(".words");
  const atRest = words.textContent;

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const wanted = first + ((place - left) / width) * (last - first);
    const near = curves.map(({ name, steps, values }) => {
      const at = steps.reduce((best, step, i) => (Math.abs(step - wanted) < Math.abs(steps[best] - wanted) ? i : best), 0);
      return { name, step: steps[at], value: values[at] };
    });
    const x = left + ((near[0].step - first) / (last - first)) * width;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    words.textContent = near.map(({ name, step, value }) => `${name}: ${value} at step ${step.toLocaleString("en")}`).join("; ");
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    words.textContent = atRest;
  });
}

document.querySelectorAll(".player").forEach(startPlayer);
document.querySelectorAll(".chart").forEach(startChart);
