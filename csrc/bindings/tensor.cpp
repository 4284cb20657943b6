#include "tensor.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "dlpack.hpp"

namespace py = pybind11;

namespace softdiff {
namespace {

// What is needed of torch, looked up at the first call and kept for the life of the process.
struct Torch {
    PyObject *tensor_type, *parameter_type, *generator_type;
    PyObject *empty_like, *empty, *randint, *is_grad_enabled, *get_num_threads, *functorch_level;
    PyObject *contiguous_format, *cpu, *seed_limit, *no_sizes;
    std::array<PyObject*, 4> dtypes;  // in the order of Dtype
    PyObject *names_like, *names_empty, *names_randint, *names_randint_from;
    decltype(dlpack::ExchangeApi::tensor_from_object) show = nullptr;          // null in an older torch
    decltype(dlpack::ExchangeApi::current_work_stream) work_stream = nullptr;  // also there
    PyObject *data_ptr, *shape, *stride, *dtype, *is_cpu, *is_cuda, *get_device, *is_neg, *requires_grad, *device, *item;

    Torch() {
        const py::module_ torch = py::module_::import("torch");
        const auto keep = [](py::object object) { return object.release().ptr(); };
        const auto intern = [](const char* name) { return PyUnicode_InternFromString(name); };
        tensor_type = keep(torch.attr("Tensor"));
        parameter_type = keep(torch.attr("nn").attr("Parameter"));
        generator_type = keep(torch.attr("Generator"));
        empty_like = keep(torch.attr("empty_like"));
        empty = keep(torch.attr("empty"));
        randint = keep(torch.attr("randint"));
        is_grad_enabled = keep(torch.attr("is_grad_enabled"));
        get_num_threads = keep(torch.attr("get_num_threads"));
        functorch_level = keep(torch.attr("_C").attr("_functorch").attr("maybe_current_level"));
        contiguous_format = keep(torch.attr("contiguous_format"));
        cpu = keep(torch.attr("device")("cpu"));
        seed_limit = keep(py::int_(INT64_MAX));
        no_sizes = keep(py::tuple());
        dtypes = {keep(torch.attr("float64")), keep(torch.attr("float32")), keep(torch.attr("float16")),
                  keep(torch.attr("bfloat16"))};
        names_like = keep(py::make_tuple("memory_format"));
        names_empty = keep(py::make_tuple("dtype", "device"));
        names_randint = keep(py::make_tuple("device"));
        names_randint_from = keep(py::make_tuple("device", "generator"));
        data_ptr = intern("data_ptr");
        shape = intern("shape");
        stride = intern("stride");
        dtype = intern("dtype");
        is_cpu = intern("is_cpu");
        is_cuda = intern("is_cuda");
        get_device = intern("get_device");
        is_neg = intern("is_neg");
        requires_grad = intern("requires_grad");
        device = intern("device");
        item = intern("item");
        if (py::hasattr(tensor_type, dlpack::kTypeAttribute)) {
            const py::object capsule = torch.attr("Tensor").attr(dlpack::kTypeAttribute);
            const void* pointer = PyCapsule_GetPointer(capsule.ptr(), dlpack::kCapsuleName);
            if (!pointer) throw py::error_already_set();
            const auto* api = static_cast<const dlpack::ExchangeApi*>(pointer);
            if (api->major == dlpack::kMajorVersion) {
                show = api->tensor_from_object;
                work_stream = api->current_work_stream;
            }
        }
    }
};

const Torch& torch() {
    static const Torch* found = new Torch;  // never freed: the interpreter may be gone before static objects are
    return *found;
}

py::object owned(PyObject* result) {
    if (!result) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(result);
}

py::object call(PyObject* function) { return owned(PyObject_CallNoArgs(function)); }

template <std::size_t N>
py::object call(PyObject* function, const std::array<PyObject*, N>& arguments, PyObject* names) {
    const auto named = static_cast<std::size_t>(PyTuple_GET_SIZE(names));
    return owned(PyObject_Vectorcall(function, arguments.data(), N - named, names));
}

bool exact(PyObject* object) {
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    return type == torch().tensor_type || type == torch().parameter_type;
}

int read_sizes(const py::object& sizes, std::array<std::int64_t, kMaxRank>& to) {
    if (!PyTuple_Check(sizes.ptr())) throw NotPlain{"tensors with sizes and strides"};
    const Py_ssize_t rank = PyTuple_GET_SIZE(sizes.ptr());
    if (rank > kMaxRank) throw NotPlain{"tensors of at most eight dimensions"};
    for (Py_ssize_t i = 0; i < rank; ++i) {
        to[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(sizes.ptr(), i));
        if (to[i] == -1 && PyErr_Occurred()) throw py::error_already_set();
    }
    return static_cast<int>(rank);
}

Dtype to_dtype(const py::object& dtype) {
    for (int i = 0; i < 4; ++i)
        if (dtype.ptr() == torch().dtypes[i]) return static_cast<Dtype>(i);
    throw NotPlain{"float64, float32, float16 or bfloat16"};
}

}  // namespace

std::int64_t TensorView::size() const {
    std::int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= shape[i];
    return product;
}

bool TensorView::contiguous() const {
    std::int64_t expected = 1;
    for (int i = rank - 1; i >= 0; --i) {
        if (stride[i] != expected) return false;
        expected *= shape[i];
    }
    return true;
}

Call::Call(py::handle attach) : attach_(attach), eager_(!attach.is_none()) {
    if (!eager_) return;
    if (!call(torch().functorch_level).is_none()) throw NotPlain{"tensors outside the transforms of torch.func"};
    gradients_ = call(torch().is_grad_enabled).ptr() == Py_True;
}

namespace {

Dtype to_dtype(const dlpack::Tensor& shown) {
    if (shown.type_code == dlpack::kFloat && shown.type_lanes == 1) {
        if (shown.type_bits == 64) return Dtype::kFloat64;
        if (shown.type_bits == 32) return Dtype::kFloat32;
        if (shown.type_bits == 16) return Dtype::kFloat16;
    }
    if (shown.type_code == dlpack::kBFloat && shown.type_bits == 16 && shown.type_lanes == 1) return Dtype::kBFloat16;
    throw NotPlain{"float64, float32, float16 or bfloat16"};
}

// A few nanoseconds, where each attribute takes thirty; for exact types only.
void describe_by_dlpack(PyObject* tensor, TensorView& view, Allowed allowed) {
    dlpack::Tensor shown{};
    if (torch().show(tensor, &shown) != 0) throw py::error_already_set();
    view.dtype = to_dtype(shown);
    if (shown.device_type != dlpack::kCpu) {
        if (!kHaveDevice || allowed == Allowed::kHostOnly || shown.device_type != dlpack::kCuda)
            throw NotPlain{"tensors on the CPU"};
        view.device = shown.device_id;
    }
    if (shown.rank > kMaxRank) throw NotPlain{"tensors of at most eight dimensions"};
    view.rank = shown.rank;
    std::copy_n(shown.shape, shown.rank, view.shape.begin());
    std::copy_n(shown.strides, shown.rank, view.stride.begin());
    view.data = static_cast<char*>(shown.data) + shown.byte_offset;
}

void describe_by_attributes(PyObject* tensor, TensorView& view, Allowed allowed) {
    const Torch& names = torch();
    view.dtype = to_dtype(owned(PyObject_GetAttr(tensor, names.dtype)));
    if (owned(PyObject_GetAttr(tensor, names.is_cpu)).ptr() != Py_True) {
        if (!kHaveDevice || allowed == Allowed::kHostOnly || owned(PyObject_GetAttr(tensor, names.is_cuda)).ptr() != Py_True)
            throw NotPlain{"tensors on the CPU"};
        view.device = static_cast<int>(PyLong_AsLong(owned(PyObject_CallMethodNoArgs(tensor, names.get_device)).ptr()));
    }
    view.rank = read_sizes(owned(PyObject_GetAttr(tensor, names.shape)), view.shape);
    read_sizes(owned(PyObject_CallMethodNoArgs(tensor, names.stride)), view.stride);
    view.data = PyLong_AsVoidPtr(owned(PyObject_CallMethodNoArgs(tensor, names.data_ptr)).ptr());
}

}  // namespace

TensorView Call::read(py::handle tensor, Allowed allowed) const {
    PyObject* object = tensor.ptr();
    if (!eager_) return describe(object, allowed);
    if (!exact(object)) throw NotPlain{"plain tensors"};
    try {
        TensorView view = describe(object, allowed);
        if (gradients_) view.requires_grad = owned(PyObject_GetAttr(object, torch().requires_grad)).ptr() == Py_True;
        return view;
    } catch (const py::error_already_set&) {  // sparse, nested, or left over from a transform of torch.func
        throw NotPlain{"dense tensors"};
    }
}

TensorView Call::describe(PyObject* tensor, Allowed allowed) {
    TensorView view;
    view.object = tensor;
    if (torch().show && exact(tensor)) {
        describe_by_dlpack(tensor, view, allowed);
    } else {
        describe_by_attributes(tensor, view, allowed);
    }
    if (kEmulated && allowed == Allowed::kDevices) view.device = 0;
    if (owned(PyObject_CallMethodNoArgs(tensor, torch().is_neg)).ptr() != Py_False)
        throw NotPlain{"tensors without a pending negation"};
    if (!view.data && view.size() != 0) throw NotPlain{"tensors that have memory"};
    return view;
}

py::object Call::empty_like(const TensorView& like) const {
    if (!exact(like.object)) {  // a subclass would make another of itself
        py::tuple shape(like.rank);
        for (int i = 0; i < like.rank; ++i) shape[i] = like.shape[i];
        return empty(shape, like.dtype, like.device);
    }
    if (like.contiguous()) return owned(PyObject_CallOneArg(torch().empty_like, like.object));
    return call<2>(torch().empty_like, {like.object, torch().contiguous_format}, torch().names_like);
}

py::object Call::empty(const py::tuple& shape, Dtype dtype, int device) const {
    const py::object where = torch_device(device);
    return call<3>(torch().empty, {shape.ptr(), torch().dtypes[static_cast<int>(dtype)], where.ptr()}, torch().names_empty);
}

void* Call::memory(py::handle made) {
    if (!exact(made.ptr())) throw NotPlain{"calls outside of modes that make tensors without memory"};
    if (torch().show) {
        dlpack::Tensor shown{};
        if (torch().show(made.ptr(), &shown) != 0) throw py::error_already_set();
        return static_cast<char*>(shown.data) + shown.byte_offset;
    }
    return PyLong_AsVoidPtr(owned(PyObject_CallMethodNoArgs(made.ptr(), torch().data_ptr)).ptr());
}

bool is_tensor(py::handle value) {
    return PyObject_TypeCheck(value.ptr(), reinterpret_cast<PyTypeObject*>(torch().tensor_type));
}

int thread_count() { return static_cast<int>(PyLong_AsLong(call(torch().get_num_threads).ptr())); }

py::object torch_device(int device) {
    if (device == kHost || kEmulated) return py::reinterpret_borrow<py::object>(torch().cpu);
    static auto* made = new std::vector<PyObject*>;  // by index; kept for the life of the process
    while (static_cast<int>(made->size()) <= device) {
        const auto index = static_cast<int>(made->size());
        made->push_back(py::module_::import("torch").attr("device")("cuda", index).release().ptr());
    }
    return py::reinterpret_borrow<py::object>((*made)[device]);
}

void* current_stream(int device) {
    if (kEmulated) return nullptr;
    if (!torch().work_stream) {
        const py::object number = py::module_::import("torch").attr("_C").attr("_cuda_getCurrentRawStream")(device);
        return PyLong_AsVoidPtr(number.ptr());
    }
    void* stream = nullptr;
    if (torch().work_stream(dlpack::kCuda, device, &stream) != 0) throw py::error_already_set();
    return stream;
}

bool is_seed_source(py::handle source) {
    if (source.ptr() == Py_True) return true;
    if (reinterpret_cast<PyObject*>(Py_TYPE(source.ptr())) != torch().generator_type) return false;
    const py::object device = owned(PyObject_GetAttr(source.ptr(), torch().device));
    return PyObject_RichCompareBool(device.ptr(), torch().cpu, Py_EQ) == 1;
}

py::object draw_seed(py::handle source) {
    const Torch& names = torch();
    const py::object drawn =
        source.ptr() == Py_True
            ? call<3>(names.randint, {names.seed_limit, names.no_sizes, names.cpu}, names.names_randint)
            : call<4>(names.randint, {names.seed_limit, names.no_sizes, names.cpu, source.ptr()}, names.names_randint_from);
    return owned(PyObject_CallMethodNoArgs(drawn.ptr(), names.item));
}

py::object draw_device_seed(py::handle generator, int device) {
    const py::module_ torch = py::module_::import("torch");
    const auto randint = [&] {
        return torch.attr("randint")(INT64_MAX, py::tuple(), py::arg("device") = torch_device(device),
                                     py::arg("generator") = generator);
    };
    if (kEmulated) return randint();
    const py::object cuda = torch.attr("cuda");
    if (cuda.attr("is_current_stream_capturing")().ptr() == Py_True) return randint();
    const py::object from = generator.is_none() ? py::object(cuda.attr("default_generators")[py::int_(device)])
                                                : py::reinterpret_borrow<py::object>(generator);
    constexpr int kStep = 4;  // torch counts Philox's words, four a counter
    const auto offset = py::cast<std::uint64_t>(from.attr("get_offset")());
    std::uint64_t mixed = py::cast<std::uint64_t>(from.attr("initial_seed")());
    from.attr("set_offset")(offset + kStep);
    // SplitMix64 (Steele, Lea, Flood 2014) of the seed, then of that and the offset: neighbours of either have nothing in
    // common.
    for (const std::uint64_t next : {std::uint64_t{0}, offset}) {
        mixed += next + 0x9E3779B97F4A7C15U;
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
        mixed ^= mixed >> 31;
    }
    return py::int_(mixed & INT64_MAX);
}

Dtype accumulation_dtype(Dtype dtype) { return dtype == Dtype::kFloat64 ? Dtype::kFloat64 : Dtype::kFloat32; }

}  // namespace softdiff
