// The latency model: predicts the time of each rung of the ladder now, and learns from each answer.
//
//     bound of a rung = median of the latency table x bias of the rung x factor

#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../latency_table.h"
#include "outlook.h"
#include "slow_down.h"

namespace gearshift::detail {

// Predicted times of all rungs of a ladder for one request; rung 0 is the most accurate.
struct Prediction {
  std::vector<double> medians;  // ms of each rung on the unloaded device
  std::vector<double> biases;   // observed / expected time of each rung, apart from the slow-down that all have
  double factor;                // on the medians: the slow-down with its tail
  double usual;                 // slow-down without a tail
  double silence_s;             // since the last answer; infinite before the first
  Outlook outlook;              // distribution of the log of time / (median x bias), first calls apart
  double first_call;            // on all times, after a pause

  // Time in ms that a rung stays under with the target's probability.
  double bound_ms(std::size_t rung) const { return medians[rung] * biases[rung] * factor; }
};

// A tail factor without flicker: up at once, down after a dwell, in between to the mean of a period.
class Hysteresis {
 public:
  double smooth(double factor, double now) {
    constexpr double margin = 0.8, tolerance = 1.1, dwell_s = 0.2, still = 1.03, period_s = 2;
    constexpr int first_requests = 8;
    if (now < at_) high_at_ = period_at_ = now;
    seen_ = now - at_ >= idle_s ? 0 : seen_ + 1;
    at_ = now;
    sum_ += factor;
    count_ += 1;
    bool low = factor < factor_ * margin;
    if (seen_ < first_requests || factor > factor_ * tolerance) {
      move(factor, now);
    } else if (low && now - high_at_ >= dwell_s) {
      move(factor, now);
      low = false;
    } else if (!low && now - period_at_ >= period_s) {
      const double mean = sum_ / count_;
      move(std::max(mean / factor_, factor_ / mean) > still ? mean : factor_, now);
    }
    if (!low) high_at_ = now;
    return factor_;
  }

 private:
  void move(double factor, double now) {
    factor_ = factor;
    period_at_ = now;
    sum_ = count_ = 0;
  }
  double factor_ = 0, sum_ = 0, count_ = 0, at_ = -infinity, high_at_ = -infinity, period_at_ = -infinity;
  int seen_ = 0;
};

// Factors on the expected time of each rung, apart from the slow-down that all have in common.
class Biases {
 public:
  explicit Biases(std::size_t rungs) : logs_(rungs, 0), factors_(rungs, 1) {}

  const std::vector<double>& factors() const { return factors_; }
  double idle_factor(double gap_s) const { return gap_s >= idle_s ? std::exp(first_call_) : 1; }

  void learn(int rung, double innovation, double gap_s) {
    constexpr double shrink = 0.01, memory = 0.1, first_call_memory = 0.2, largest = 0.5, largest_residual = 0.3;
    const double residual = clip(innovation, -largest_residual, largest_residual);
    double& log = logs_[static_cast<std::size_t>(rung)];
    if (gap_s >= idle_s) first_call_ = clip(first_call_ + first_call_memory * residual, 0, largest);
    else log = clip((1 - shrink) * log + (last_ >= 0 && last_ != rung ? memory * residual : 0), -largest, largest);
    last_ = rung;
    factors_[static_cast<std::size_t>(rung)] = std::exp(log);
  }

 private:
  std::vector<double> logs_, factors_;
  int last_ = -1;
  double first_call_ = 0.1;
};

class LatencyModel {
 public:
  LatencyModel(const LatencyTable& table, const std::vector<std::string>& ladder, double target)
      : table_(table), ladder_(ladder), slow_(target), biases_(ladder.size()) {}

  double slow_down() const { return slow_.value(); }

  Prediction predict(int tokens, double now) {
    Prediction made;
    made.silence_s = silence(now);
    made.first_call = biases_.idle_factor(made.silence_s);
    const double tail = slow_.tail_factor(now) * made.first_call;
    made.factor = std::max(hysteresis_.smooth(tail, now), slow_.suspected() * made.first_call);
    for (const std::string& name : ladder_) made.medians.push_back(time_at(table_, name, tokens));
    made.biases = biases_.factors();
    made.usual = slow_.value();
    made.outlook = slow_.outlook(now);
    return made;
  }

  // Median in ms of any subnet of the table, on the ladder or not.
  double median_ms(const std::string& name, int tokens) const { return time_at(table_, name, tokens); }
  double bias_of(const std::string& name) const {
    const int rung = rung_of(name);
    return rung < 0 ? 1 : biases_.factors()[static_cast<std::size_t>(rung)];
  }

  void learn(const std::string& name, double run_ms, double expected_ms, double predicted_ms, double now) {
    const int rung = rung_of(name);
    const double silence_s = silence(now - run_ms / 1e3);
    const double known = biases_.idle_factor(silence_s) * bias_of(name);
    const double ratio = run_ms / expected_ms;
    const double innovation = std::log(ratio / known / slow_.value());
    slow_.update(ratio / known, now, run_ms > predicted_ms);
    if (rung >= 0) biases_.learn(rung, innovation, silence_s);
  }

 private:
  int rung_of(const std::string& name) const {
    const auto found = std::find(ladder_.begin(), ladder_.end(), name);
    return found == ladder_.end() ? -1 : static_cast<int>(found - ladder_.begin());
  }
  double silence(double now) const { return slow_.updated_at() ? now - *slow_.updated_at() : infinity; }

  LatencyTable table_;
  std::vector<std::string> ladder_;
  SlowDown slow_;
  Hysteresis hysteresis_;
  Biases biases_;
};

}  // namespace gearshift::detail
