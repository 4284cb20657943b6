#include "device_call.hpp"

#include <cmath>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "../cuda/device.hpp"

namespace py = pybind11;

namespace softdiff::device {
namespace {

bool is_number(PyObject* value) { return PyFloat_Check(value) || (PyLong_Check(value) && !PyBool_Check(value)); }

double host_value(const TensorView& tensor) {
    return tensor.dtype == Dtype::kFloat64 ? *static_cast<const double*>(tensor.data) : *static_cast<const float*>(tensor.data);
}

py::object torch_attribute(const char* name) { return py::module_::import("torch").attr(name); }

py::object bytes_on(int device, std::int64_t bytes) {
    return torch_attribute("empty")(bytes, py::arg("dtype") = torch_attribute("uint8"),
                                    py::arg("device") = torch_device(device));
}

}  // namespace

DeviceLevel::DeviceLevel(const Call& call, py::handle level, std::int64_t batch, int device) : given_(level), device_(device) {
    if (PyTuple_Check(level.ptr()) && PyTuple_GET_SIZE(level.ptr()) == 4) {
        for (int i = 0; i < 4; ++i) read_field(call, PyTuple_GET_ITEM(level.ptr(), i), i, batch);
        // Tensors stand as 0 here, which is in range; what is wrong with a number, Python's own checks say.
        const bool finite = std::isfinite(number_[0]) && std::isfinite(number_[1]) && std::isfinite(number_[2]);
        const bool in_range = finite && number_[1] >= 0.0 && number_[2] >= 0.0 && number_[3] >= 0.0 && number_[3] < 1.0;
        if (call.eager() && !in_range) throw NotPlain{"levels in range"};
    } else if (is_tensor(level)) {
        read_packed(call, level, batch);
    } else {
        throw NotPlain{"levels of four fields"};
    }
}

void DeviceLevel::read_field(const Call& call, PyObject* field, int i, std::int64_t batch) {
    cuda::LevelField& to = fields_.field[i];
    if (is_number(field)) {
        to.number = number_[i] = PyFloat_AsDouble(field);
        if (to.number == -1.0 && PyErr_Occurred()) PyErr_Clear(), to.number = number_[i] = NAN;  // an int beyond all floats
        return;
    }
    if (!is_tensor(field)) throw NotPlain{"levels of numbers and tensors"};
    const TensorView tensor = call.read(field, Allowed::kDevices);
    if (tensor.requires_grad) throw NotPlain{"levels that need no gradient"};
    if (tensor.dtype != Dtype::kFloat64 && tensor.dtype != Dtype::kFloat32) throw NotPlain{"levels of 32 or 64 bits"};
    if (tensor.rank > 1 || (tensor.rank == 1 && tensor.shape[0] != batch)) throw NotPlain{"level fields [] or [B]"};
    if (tensor.device == kHost && tensor.rank == 0) {
        to.number = number_[i] = host_value(tensor);
        given_ = py::handle();
        return;
    }
    if (tensor.device != device_) throw NotPlain{"levels on the device of the images"};
    to.data = tensor.data;
    to.stride = tensor.rank == 0 || tensor.shape[0] == 1 ? 0 : tensor.stride[0];
    to.is_float32 = tensor.dtype == Dtype::kFloat32;
    tensor_[i] = field;
    given_ = py::handle();
    any_tensor_ = true;
    if (tensor.rank == 1) count_ = batch;
}

void DeviceLevel::read_packed(const Call& call, py::handle packed, std::int64_t batch) {
    const TensorView view = call.read(packed, Allowed::kDevices);
    if (view.requires_grad || view.rank != 2 || view.shape[1] != 4 || view.dtype != Dtype::kFloat64 || view.device != device_)
        throw NotPlain{"levels as float64 [B, 4] on the device of the images"};
    const std::int64_t count = view.shape[0];
    if (count != 1 && count != batch)
        throw std::invalid_argument("a level must be given once or for each sample: wanted 1 or " + std::to_string(batch) +
                                    " of them, got " + std::to_string(count));
    for (int i = 0; i < 4; ++i) {
        fields_.field[i].data = static_cast<const double*>(view.data) + i * view.stride[1];
        fields_.field[i].stride = count == 1 ? 0 : view.stride[0];
    }
    any_tensor_ = true;
}

LevelArray DeviceLevel::array() const {
    LevelArray levels;
    levels.data = number_.data();
    return levels;
}

py::object DeviceLevel::kept(const Call& call) const {
    if (given_) return py::reinterpret_borrow<py::object>(given_);
    if (!any_tensor_) return py::make_tuple(number_[0], number_[1], number_[2], number_[3]);
    // By fills and copies on the device: torch.tensor would wait for it.
    py::object packed = call.empty(py::make_tuple(count_, 4), Dtype::kFloat64, device_);
    for (int i = 0; i < 4; ++i) {
        const py::object column = packed.attr("select")(1, i);
        if (tensor_[i]) {
            column.attr("copy_")(tensor_[i]);
        } else {
            column.attr("fill_")(number_[i]);
        }
    }
    return packed;
}

DeviceSeed::DeviceSeed(const Call& call, py::handle argument, bool noise_given, int device)
    : value_(py::reinterpret_borrow<py::object>(argument)), device_(device) {
    if (argument.is_none() || PyLong_CheckExact(argument.ptr())) return;
    if (is_tensor(argument)) {
        const py::object dtype = argument.attr("dtype"), place = argument.attr("device"), rank = argument.attr("dim")();
        if (!dtype.is(torch_attribute("int64")) || !rank.equal(py::int_(0)) || !place.equal(torch_device(device)))
            throw NotPlain{"seeds that are an int, or an int64 tensor [] on the device of the images"};
        return;
    }
    if (noise_given || !call.eager()) throw NotPlain{"noise, or what to draw it from"};
    if (argument.ptr() == Py_True) {
        source_ = Source::kDeviceGenerator;
        return;
    }
    if (!py::isinstance(argument, torch_attribute("Generator"))) throw NotPlain{"noise, or what to draw it from"};
    const py::object place = argument.attr("device");
    if (place.equal(torch_device(device))) {
        source_ = Source::kDeviceGenerator;
    } else if (place.equal(torch_device(kHost))) {
        source_ = Source::kHostGenerator;
    } else {
        throw NotPlain{"generators of the device of the images or of the CPU"};
    }
}

void DeviceSeed::draw() {
    if (source_ == Source::kHostGenerator) value_ = draw_seed(value_);
    if (source_ == Source::kDeviceGenerator)
        value_ = draw_device_seed(value_.ptr() == Py_True ? py::object(py::none()) : value_, device_);
}

cuda::Seed DeviceSeed::seed() const {
    cuda::Seed seed;
    if (none()) return seed;
    if (is_tensor(value_)) {
        seed.data = static_cast<const std::int64_t*>(PyLong_AsVoidPtr(value_.attr("data_ptr")().ptr()));
    } else {
        seed.number = PyLong_AsUnsignedLongLong(value_.ptr());
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return seed;
}

Image taken(const TensorView& view, std::vector<py::object>& copies) {
    Image image;
    if (!view.object) return image;
    const std::int64_t rows = view.shape[2] - 1, columns = view.shape[3] - 1;
    std::array<std::int64_t, 4> strides = {view.stride[0], view.stride[1], view.stride[2], view.stride[3]};
    image.data = view.data;
    if (rows * strides[2] + columns * strides[3] > std::numeric_limits<std::int32_t>::max()) {
        copies.push_back(py::handle(view.object).attr("detach")().attr("contiguous")());
        image.data = Call::memory(copies.back());
        strides = {view.shape[1] * view.shape[2] * view.shape[3], view.shape[2] * view.shape[3], view.shape[3], 1};
    }
    std::copy_n(strides.begin(), 4, image.stride);
    return image;
}

Running::Running(int device) : device_(device), stream_(current_stream(device)) {}

void* Running::workspace(std::int64_t bytes) {
    const py::gil_scoped_acquire held;
    workspaces_.push_back(bytes_on(device_, bytes));
    return Call::memory(workspaces_.back());
}

const void* Running::table(std::uint64_t key, const void* host, std::int64_t bytes) {
    const py::gil_scoped_acquire held;                                               // which also guards the tables
    static auto* tables = new std::map<std::pair<int, std::uint64_t>, const void*>;  // for the life of the process
    const auto found = tables->find({device_, key});
    if (found != tables->end()) return found->second;
    if (cuda_capturing(stream_))
        throw std::runtime_error(
            "softdiff_ext: this operator needs a table on the device for images of this size and dtype, which cannot be made "
            "while a CUDA graph is being captured: call it once on such images before the capture");
    py::object memory = bytes_on(device_, bytes);
    void* at = Call::memory(memory);
    cuda_upload(at, host, bytes, device_, stream_);
    memory.release();  // only now: nothing is kept where the upload failed
    return tables->emplace(std::make_pair(device_, key), at).first->second;
}

}  // namespace softdiff::device
