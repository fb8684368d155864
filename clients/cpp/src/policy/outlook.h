// The outlook: the probability that a request takes at most so long, from a distribution that is learnt.
//
// The rule of `gearshift.runtime.policy.outlook`, number by number (docs/bundle.md, "Learning").

#pragma once

#include <algorithm>
#include <cmath>

#include "normal.h"

namespace gearshift::detail {

// Deviations beyond which a request is an outlier.
inline constexpr double outlier_clip = 3;

// Distribution of the log of time / (median x bias) of the next request: usual ones, those after a step, outliers.
struct Outlook {
  double centre, deviation;                 // of usual requests, which are normal
  double step, stepped, stepped_deviation;  // probability that the load has just stepped; then requests are normal here
  double outliers, excess;                  // share that takes longer, and the mean of the log by which it does

  // Probability that the log of time / (median x bias) is at most this.
  double within(double log_ratio) const {
    const double off = (log_ratio - centre) / deviation;
    double chance = (1 - outliers) * normal_share(off);
    if (off > outlier_clip) chance += outliers * (1 - std::exp((outlier_clip - off) * deviation / excess));
    if (step > 0) chance += step * (normal_share((log_ratio - stepped) / stepped_deviation) - chance);
    return chance;
  }
};

// Learner of how far requests really are from the filter's prediction: their spread, and slow outliers.
class Calibration {
 public:
  double spread() const { return std::sqrt(square_); }
  double outliers() const { return outliers_; }
  double excess() const { return excess_; }

  void learn(double innovation, double deviation) {
    constexpr double memory = 0.02, first_clip = 6, mean_clipped_square = 0.973, least = 0.5, most = 6;
    constexpr double outlier_memory = 0.005, excess_memory = 0.1;
    constexpr int first_ones = 20, prior_count = 5;
    count_ += 1;
    const double limit = count_ < first_ones ? first_clip * first_clip : outlier_clip * outlier_clip * square_;
    const double off = innovation / deviation;
    const double square = std::min(off * off, limit) / mean_clipped_square;
    square_ += std::max(memory, 1 / (count_ + prior_count)) * (square - square_);
    square_ = std::max(least * least, std::min(most * most, square_));
    const double over = innovation - outlier_clip * deviation * spread();
    outliers_ += outlier_memory * ((over > 0 ? 1 : 0) - outliers_);
    if (over > 0) excess_ += excess_memory * (over - excess_);
  }

 private:
  double square_ = 1, count_ = 0, outliers_ = 0.005, excess_ = 0.4;
};

}  // namespace gearshift::detail
