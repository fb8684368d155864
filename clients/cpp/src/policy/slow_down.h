// The slow-down: observed / expected latency now, filtered in the log domain, with a tail that is learnt.
//
// The rule of `gearshift.runtime.policy.slow_down`, number by number (docs/bundle.md, "Learning").

#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "normal.h"
#include "outlook.h"

namespace gearshift::detail {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
// Shortest pause in seconds after which the machine may have changed.
inline constexpr double idle_s = 1;

inline double clip(double value, double low, double high) { return std::max(low, std::min(high, value)); }

// Record of recent slow outliers: how many began a step of the load, and how many were one slow request.
class Alarms {
 public:
  double trust() const { return (followed_ + 1) / (lone_ + followed_ + 3); }

  void note(int outliers, double now) {
    constexpr double fade_s = 120;
    const double fading = std::exp(-std::max(0.0, now - at_) / fade_s);
    at_ = now;
    lone_ *= fading;
    followed_ *= fading;
    if (open_) (outliers > 1 ? followed_ : lone_) += 1;
    open_ = outliers == 1;
  }

 private:
  double lone_ = 0, followed_ = 0, at_ = 0;
  bool open_ = false;
};

class SlowDown {
 public:
  explicit SlowDown(double target) : target_(target), tail_(normal_quantile(target)) {}

  // Moment of the last update in seconds; nullopt before the first.
  const std::optional<double>& updated_at() const { return updated_at_; }
  // Estimated slow-down: 1 is the unloaded device, 2 is half as fast.
  double value() const { return std::exp(state_); }
  // Factor that covers a step of the load at the last request if that was slow enough to be one; else 0.
  double suspected() const { return std::exp(suspected_); }
  // Factor on a median that gives the time which a share `target` of the requests stays under.
  double tail_factor(double now) const { return std::exp(state_ + tail_ * std::sqrt(variance_at(now) + noise_)); }
  // Distribution of the log of observed / expected latency for a request at `now`.
  Outlook outlook(double now) const {
    const double spread = calibration_.spread();
    return {state_, spread * std::sqrt(variance_at(now) + noise_), step_, stepped_, spread * std::sqrt(noise_),
            calibration_.outliers(), calibration_.excess()};
  }

  // Learn from one observed / expected latency; `late`: whether it was beyond the tail predicted for it.
  void update(double ratio, double now, bool late) {
    if (!std::isfinite(ratio) || ratio <= 0) return;
    constexpr double adaptation = 0.3, outlier_deviations = 3, least_trust = 0.3, trust_in_two = 0.8;
    const double observed = std::log(ratio);
    tail_ = clip(tail_ + adaptation * pace() * ((late ? 1 : 0) - (1 - target_)), 0.5, 6);
    double variance = variance_at(now);
    const double deviation = std::sqrt(variance + noise_);
    double innovation = observed - state_;
    const double limit = outlier_deviations * deviation;
    calibration_.learn(innovation, deviation);
    count_outlier(innovation, limit);
    suspected_ = -infinity;
    step_ = stepped_ = 0;
    alarms_.note(outliers_, now);
    if (std::abs(outliers_) >= 3) {
      variance = 1;
      outliers_ = 0;
      last_innovation_ = 0;
    } else {
      if (outliers_ > 1 || (outliers_ == 1 && alarms_.trust() >= least_trust))
        suspected_ = std::min(observed, highest()) + tail_ * std::sqrt(noise_);
      if (outliers_ > 0) {
        step_ = outliers_ == 1 ? alarms_.trust() : std::max(trust_in_two, alarms_.trust());
        stepped_ = std::min(observed, highest());
      }
      innovation = clip(innovation, -limit, limit);
      learn_noise(observed);
      learn_agility(innovation, deviation);
    }
    const double gain = variance / (variance + noise_);
    state_ = clip(state_ + gain * innovation, std::log(0.05), highest());
    variance_ = (1 - gain) * variance;
    updated_at_ = now;
  }

 private:
  static double highest() { return std::log(200.0); }
  double pace() const { return clip(agility_, 0.2, 1); }

  double variance_at(double now) const {
    constexpr double per_update = 0.001, per_second = 0.02;
    const double gap = updated_at_ ? std::max(0.0, now - *updated_at_) : 0;
    const double usual = per_update + per_second * std::min(gap, idle_s);
    return std::min(variance_ + (agility_ * usual + per_second * std::max(0.0, gap - idle_s)), 1.0);
  }

  void count_outlier(double innovation, double limit) {
    if (std::abs(innovation) <= limit) outliers_ = 0;
    else if (innovation > 0) outliers_ = std::max(outliers_, 0) + 1;
    else outliers_ = std::min(outliers_, 0) - 1;
  }

  void learn_noise(double observed) {
    constexpr double memory = 0.05;
    constexpr int prior_count = 3;
    if (last_observed_) {
      const double square = (observed - *last_observed_) * (observed - *last_observed_) / 2;
      differences_ += 1;
      noise_ += std::max(memory * pace(), 1 / (differences_ + prior_count)) * (std::min(square, 9 * noise_) - noise_);
      noise_ = clip(noise_, 0.02 * 0.02, 0.5 * 0.5);
    }
    last_observed_ = observed;
  }

  void learn_agility(double innovation, double deviation) {
    constexpr double step = 0.05, excess_weight = 0.3, mean_clipped_square = 0.858, clipped_square = 3;
    const double square = deviation * deviation;
    const double correlation = innovation * last_innovation_ / square;
    const double excess = std::min(innovation * innovation / square, clipped_square) / mean_clipped_square - 1;
    agility_ = clip(agility_ * std::exp(step * clip(correlation + excess_weight * excess, -1, 1)), 0.01, 10);
    last_innovation_ = innovation;
  }

  double target_, tail_;
  std::optional<double> updated_at_, last_observed_;
  double state_ = 0, variance_ = 0.25 * 0.25, noise_ = 0.02, differences_ = 0, agility_ = 1, last_innovation_ = 0;
  double suspected_ = -infinity;
  double step_ = 0, stepped_ = 0;  // probability that the last request began a step of the load, and its place then
  Calibration calibration_;
  int outliers_ = 0;
  Alarms alarms_;
};

}  // namespace gearshift::detail
