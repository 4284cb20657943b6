#include "images.hpp"

#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "levels.hpp"

namespace py = pybind11;

namespace softdiff {

std::string_view text(const py::str& string) {
    Py_ssize_t length = 0;
    const char* characters = PyUnicode_AsUTF8AndSize(string.ptr(), &length);
    if (!characters) throw py::error_already_set();
    return {characters, static_cast<std::size_t>(length)};
}

void check_side(std::int64_t side) {
    if (side > kMaxLine)
        throw std::invalid_argument("the sides of an image must be at most " + std::to_string(kMaxLine) + ", got " +
                                    std::to_string(side));
}

namespace {

// Leading dimensions of a tensor as one, of a size and a stride.
std::pair<std::int64_t, std::int64_t> merged(const TensorView& view, int dimensions) {
    std::int64_t size = 1, stride = 0;
    for (int i = dimensions - 1; i >= 0; --i) {
        if (view.shape[i] == 1) continue;
        if (size == 1) {
            stride = view.stride[i];
        } else if (view.stride[i] != size * stride) {
            throw NotPlain{"tensors whose leading dimensions are evenly spaced"};
        }
        size *= view.shape[i];
    }
    return {size, stride};
}

}  // namespace

TransformTask transform_task(const TensorView& view, Axes axes) {
    TransformTask task{};
    const int last = view.rank - 1;
    task.dtype = view.dtype;
    task.axes = axes;
    task.batch = task.channels = task.height = 1;
    task.width = view.shape[last];
    task.input.data = view.data;
    task.input.stride[3] = view.stride[last];
    if (axes != Axes::kColumns) check_side(task.width);
    if (axes == Axes::kRows) {
        std::tie(task.height, task.input.stride[2]) = merged(view, last);
        return task;
    }
    task.height = view.shape[last - 1];
    task.input.stride[2] = view.stride[last - 1];
    check_side(task.height);
    if (axes == Axes::kBoth && view.rank == 4) {
        task.batch = view.shape[0];
        task.input.stride[0] = view.stride[0];
        task.channels = view.shape[1];
        task.input.stride[1] = view.stride[1];
    } else {
        std::tie(task.channels, task.input.stride[1]) = merged(view, last - 1);
    }
    return task;
}

Image broadcast(const TensorView& gain, const TensorView& like) {
    Image map;
    map.data = gain.data;
    if (gain.rank > 4 || gain.dtype != accumulation_dtype(like.dtype)) throw NotPlain{"gains in the type of the arithmetic"};
    for (int i = 0; i < gain.rank; ++i) {
        const int at = 4 - gain.rank + i;
        if (gain.shape[i] != 1 && gain.shape[i] != like.shape[at]) throw NotPlain{"gains that broadcast to the images"};
        map.stride[at] = gain.shape[i] == 1 ? 0 : gain.stride[i];
    }
    return map;
}

}  // namespace softdiff
