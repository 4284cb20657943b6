// Which factorisation of a length is the fastest, by an estimate of cycles per H_n (odd.hpp).
#pragma once

#include <map>

#include "odd_plan.hpp"

namespace softdiff {

struct Choice {
    double cycles = 0;
    HalfKind kind = HalfKind::kCodelet;
    int columns = 0;   // kProduct: n = columns * rows; kRader: length of the DFT of the cosine's convolution
    int sine_dft = 0;  // kRader: the same for the sine's
    int padded = 0;    // kRader: length of both convolutions, 0: their own
};

class Choices {
  public:
    const Choice& of(int n);

  private:
    std::map<int, Choice> known_;

    Choice best(int n);
    double many(int n, int count, double around);
    void consider_products(int n, Choice& best);
    void consider_rader(int n, Choice& best);
};

}  // namespace softdiff
