// The images of a call, and the shapes and strides that the tasks of the kernels are made of.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "tensor.hpp"

namespace softdiff {

using Handles = std::array<pybind11::handle, kTerms>;

std::string_view text(const pybind11::str& string);

void check_side(std::int64_t side);  // std::invalid_argument where it is too long for the kernels

// The images of a call, [B, C, H, W] of one shape, dtype and device; those that are None are left out.
class Images {
  public:
    Images(const Call& call, const Handles& images) {
        for (int i = 0; i < kTerms; ++i) {
            if (images[i].is_none()) continue;
            view_[i] = call.read(images[i], Allowed::kDevices);
            const TensorView& view = view_[i];
            requires_grad_ |= view.requires_grad;
            if (view.rank != 4 || view.shape[2] == 0 || view.shape[3] == 0) throw NotPlain{"images [B, C, H, W]"};
            if (!like_) like_ = &view_[i];
            if (view.shape != like_->shape || view.dtype != like_->dtype) throw NotPlain{"images of one shape and dtype"};
            if (view.device != like_->device) throw NotPlain{"images on one device"};
        }
        if (!like_) throw NotPlain{"at least one image"};
        check_side(std::max(like_->shape[2], like_->shape[3]));
    }

    Images(const Images&) = delete;
    Images& operator=(const Images&) = delete;

    const TensorView& like() const { return *like_; }
    const TensorView& view(int i) const { return view_[i]; }  // without an object where the image is left out
    bool requires_grad() const { return requires_grad_; }
    bool on_device() const { return like_->device != kHost; }

    Image at(int i) const {
        Image image;
        image.data = view_[i].data;
        std::copy_n(view_[i].stride.begin(), 4, image.stride);
        return image;
    }

    // Sizes and dtype of a task.
    template <class Task>
    void describe(Task& task) const {
        task.batch = like_->shape[0];
        task.channels = like_->shape[1];
        task.height = like_->shape[2];
        task.width = like_->shape[3];
        task.dtype = like_->dtype;
    }

    // A task of the CPU.
    template <class Task>
    Task task() const {
        Task task{};
        describe(task);
        task.threads = thread_count();
        return task;
    }

  private:
    std::array<TensorView, kTerms> view_;
    const TensorView* like_ = nullptr;
    bool requires_grad_ = false;
};

// The last dimension of a tensor, or the last two, and the others as batch and channels; NotPlain where they are not evenly
// spaced.
TransformTask transform_task(const TensorView& view, Axes axes);

// A gain as a map of the images that it broadcasts to.
Image broadcast(const TensorView& gain, const TensorView& like);

}  // namespace softdiff
