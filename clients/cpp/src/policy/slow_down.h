// The slow-down: observed / expected latency now, filtered in the log domain, with a tail that is learnt.
//
// The rule of `gearshift.runtime.policy.slow_down`, number by number (docs/bundle.md, "Learning").

#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace gearshift::detail {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
// Shortest pause in seconds after which the machine may have changed.
inline constexpr double idle_s = 1;

// Number that a share of a normal distribution of mean 0 and deviation 1 lies below: Wichura 1988, AS 241 (PPND16).
inline double normal_quantile(double share) {
  static constexpr double central[2][8] = {
      {2.50908092873012267e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
       1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608},
      {5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
       5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1}};
  static constexpr double middle[2][8] = {
      {7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
       3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734},
      {1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
       6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1}};
  static constexpr double far[2][8] = {
      {2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
       2.96560571828504891230e-1, 1.78482653991729133580, 5.46378491116411436990, 6.65790464350110377720},
      {2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
       1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1}};
  const auto ratio = [](const double (&table)[2][8], double value) {
    double parts[2] = {0, 0};
    for (int which = 0; which < 2; ++which)
      for (const double one : table[which]) parts[which] = parts[which] * value + one;
    return parts[0] / parts[1];
  };
  const double q = share - 0.5;
  if (std::abs(q) <= 0.425) return q * ratio(central, 0.180625 - q * q);
  const double r = std::sqrt(-std::log(q <= 0 ? share : 1 - share));
  const double value = r <= 5 ? ratio(middle, r - 1.6) : ratio(far, r - 5);
  return q < 0 ? -value : value;
}

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

  // Learn from one observed / expected latency; `late`: whether it was beyond the tail predicted for it.
  void update(double ratio, double now, bool late) {
    if (!std::isfinite(ratio) || ratio <= 0) return;
    constexpr double adaptation = 0.3, outlier_deviations = 3, least_trust = 0.3;
    const double observed = std::log(ratio);
    tail_ = clip(tail_ + adaptation * pace() * ((late ? 1 : 0) - (1 - target_)), 0.5, 6);
    double variance = variance_at(now);
    const double deviation = std::sqrt(variance + noise_);
    double innovation = observed - state_;
    const double limit = outlier_deviations * deviation;
    count_outlier(innovation, limit);
    suspected_ = -infinity;
    alarms_.note(outliers_, now);
    if (std::abs(outliers_) >= 3) {
      variance = 1;
      outliers_ = 0;
      last_innovation_ = 0;
    } else {
      if (outliers_ > 1 || (outliers_ == 1 && alarms_.trust() >= least_trust))
        suspected_ = std::min(observed, highest()) + tail_ * std::sqrt(noise_);
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
    if (last_observed_) {
      const double square = (observed - *last_observed_) * (observed - *last_observed_) / 2;
      noise_ += memory * pace() * (std::min(square, 9 * noise_) - noise_);
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
  double state_ = 0, variance_ = 0.25 * 0.25, noise_ = 0.02 * 0.02 * 4, agility_ = 1, last_innovation_ = 0;
  double suspected_ = -infinity;
  int outliers_ = 0;
  Alarms alarms_;
};

}  // namespace gearshift::detail
