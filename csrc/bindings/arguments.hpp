// The arguments that operators share, read and checked, and the call of their kernels.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../cpu/dispatch.hpp"
#include "levels.hpp"
#include "operators.hpp"

namespace softdiff {

using Handles = std::array<pybind11::handle, kTerms>;

inline std::string_view text(const pybind11::str& string) {
    Py_ssize_t length = 0;
    const char* characters = PyUnicode_AsUTF8AndSize(string.ptr(), &length);
    if (!characters) throw pybind11::error_already_set();
    return {characters, static_cast<std::size_t>(length)};
}

inline void check_side(std::int64_t side) {
    if (side > kMaxLine)
        throw std::invalid_argument("the sides of an image must be at most " + std::to_string(kMaxLine) + ", got " +
                                    std::to_string(side));
}

// Runs a kernel on `elements` numbers. Letting go of the GIL and taking it again costs more than a small image.
template <class Task>
void run(void (*const kernels[2])(const Task&), const Task& task, std::int64_t elements) {
    constexpr std::int64_t kBrief = 4096;
    if (elements <= kBrief) return kernels[wide(task.dtype)](task);
    const WithoutGil released;
    kernels[wide(task.dtype)](task);
}

// The images of a call, [B, C, H, W] of one shape and dtype; those that are None are left out.
class Images {
  public:
    Images(const Call& call, const Handles& images) {
        for (int i = 0; i < kTerms; ++i) {
            if (images[i].is_none()) continue;
            view_[i] = call.read(images[i]);
            const TensorView& view = view_[i];
            requires_grad_ |= view.requires_grad;
            if (view.rank != 4 || view.shape[2] == 0 || view.shape[3] == 0) throw NotPlain{"images [B, C, H, W]"};
            if (!like_) like_ = &view_[i];
            if (view.shape != like_->shape || view.dtype != like_->dtype) throw NotPlain{"images of one shape and dtype"};
        }
        if (!like_) throw NotPlain{"at least one image"};
        check_side(std::max(like_->shape[2], like_->shape[3]));
    }

    Images(const Images&) = delete;
    Images& operator=(const Images&) = delete;

    const TensorView& like() const { return *like_; }
    bool requires_grad() const { return requires_grad_; }

    Image at(int i) const {
        Image image;
        image.data = view_[i].data;
        std::copy_n(view_[i].stride.begin(), 4, image.stride);
        return image;
    }

    template <class Task>
    Task task() const {
        Task task{};
        task.batch = like_->shape[0];
        task.channels = like_->shape[1];
        task.height = like_->shape[2];
        task.width = like_->shape[3];
        task.dtype = like_->dtype;
        task.threads = thread_count();
        return task;
    }

  private:
    std::array<TensorView, kTerms> view_;
    const TensorView* like_ = nullptr;
    bool requires_grad_ = false;
};

}  // namespace softdiff
