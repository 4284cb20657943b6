// torch.Tensor as the kernels need it, read through its Python attributes: no torch header, so one build serves every torch.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "../cpu/task.hpp"

namespace softdiff {

constexpr int kMaxRank = 8;
constexpr int kHost = -1;  // the device of a tensor of the CPU; others are CUDA's, by index

// Whether there are kernels for devices. In the tests' module memory of the CPU stands for that of a device (emulation/).
#if defined(SOFTDIFF_EMULATED)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif
#if defined(SOFTDIFF_WITH_CUDA)
constexpr bool kHaveDevice = true;
#else
constexpr bool kHaveDevice = false;
#endif

// A call that is not for the kernels as it stands. An eager call then returns None, and softdiff_ext/ops looks closer: it finds
// what is wrong and says so, or another way to compute the same.
class NotPlain : public std::exception {
  public:
    explicit NotPlain(const char* wanted) : wanted_(wanted) {}
    const char* what() const noexcept override { return wanted_; }

  private:
    const char* wanted_;
};

struct TensorView {
    PyObject* object = nullptr;  // borrowed
    void* data = nullptr;
    int rank = 0;
    std::array<std::int64_t, kMaxRank> shape{}, stride{};  // strides in elements
    Dtype dtype = Dtype::kFloat64;
    int device = kHost;
    bool requires_grad = false;  // and gradients are being recorded: false within an answered call

    std::int64_t size() const;
    bool contiguous() const;
};

enum class Allowed { kHostOnly, kDevices };

// One call from Python. `attach` is None where the caller answers for the tensors: they are dense, on the CPU or one device,
// have no pending negation and need no gradient. Else the call comes straight from the user (softdiff_ext/ops/library.py,
// Operator.quick): only exact torch.Tensor and torch.nn.Parameter are taken, never inside the transforms of torch.func, and
// where a tensor asks for a gradient attach(leading arguments..., (others, result)) is what is returned.
class Call {
  public:
    explicit Call(pybind11::handle attach);

    bool eager() const { return eager_; }

    // Throws NotPlain, or (where the caller answers) the error of the attribute that could not be read.
    TensorView read(pybind11::handle tensor, Allowed allowed = Allowed::kHostOnly) const;

    // An uninitialised contiguous tensor: of the shape, dtype and device of another, or of given ones.
    pybind11::object empty_like(const TensorView& like) const;
    pybind11::object empty(const pybind11::tuple& shape, Dtype dtype, int device = kHost) const;
    static void* memory(pybind11::handle made);

    // The result of a call joined to the autograd graph. Arguments after the last image go as one tuple, `rest`: autograd looks
    // at each argument by itself.
    template <class... Arguments>
    pybind11::object attach(const pybind11::object& out, const pybind11::tuple& rest, Arguments&&... leading) const {
        return attach_(std::forward<Arguments>(leading)..., pybind11::make_tuple(rest, out));
    }

  private:
    pybind11::handle attach_;
    bool eager_, gradients_ = false;

    static TensorView describe(PyObject* tensor, Allowed allowed);
};

bool is_tensor(pybind11::handle value);
int thread_count();
pybind11::object torch_device(int device);  // the torch.device
void* current_stream(int device);           // torch's, of a device
// A seed from the stream of a torch.Generator of the CPU, or (True) of torch's default one: an int in [0, 2^63).
bool is_seed_source(pybind11::handle source);
pybind11::object draw_seed(pybind11::handle source);
// A seed from the stream of a generator of the device, or of its default one (None): an int, from the generator's own seed and
// how far it is, which moves on. Nothing runs on the device for it; but while a CUDA graph is captured it is an int64 tensor []
// that torch.randint fills there, so that each replay draws anew.
pybind11::object draw_device_seed(pybind11::handle generator, int device);

Dtype accumulation_dtype(Dtype dtype);

// body(Call&), or None where an eager call is not for the kernels.
template <class Body>
pybind11::object run_call(pybind11::handle attach, Body body) {
    const char* reason = nullptr;
    try {
        Call call(attach);
        return body(call);
    } catch (const NotPlain& refusal) {
        reason = refusal.what();
    }
    if (attach.is_none()) throw pybind11::type_error(std::string("the native kernels take ") + reason);
    return pybind11::none();
}

// Lets other Python threads run while a kernel works.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil() { PyEval_RestoreThread(state_); }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

  private:
    PyThreadState* state_;
};

}  // namespace softdiff
