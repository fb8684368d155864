// Restraints on the choice, learnt from past requests: back-off after misses, and requests that a run makes late.

#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <vector>

#include "slow_down.h"

namespace gearshift::detail {

// Back-off: work as long as the work that just failed twice is not tried again at once.
class Backoff {
 public:
  // Shortest expected time in ms that is held back; it doubles each time a hold ends.
  double limit_ms(double now) {
    if (until_ - now > longest_hold_s) until_ = now;
    if (limit_ < infinity && now >= until_) {
      limit_ *= 2;
      if (limit_ > top_ms_) limit_ = infinity;
      until_ = now + first_hold_s;
    }
    return limit_;
  }

  // Take in whether work kept a deadline that it was expected to keep.
  void record(double expected_ms, bool met, double now) {
    since_miss_ += 1;
    if (met || expected_ms >= limit_) return;
    const bool on_trial = now < until_;
    const double gap = now - missed_at_;
    const bool together = gap >= 0 && gap <= 0.5 && since_miss_ <= misses_together;
    missed_at_ = now;
    since_miss_ = 0;
    if (!(on_trial || together)) return;
    if (!on_trial) {
      hold_s_ = first_hold_s;
      top_ms_ = 0;
    }
    limit_ = expected_ms;
    top_ms_ = std::max(top_ms_, expected_ms);
    until_ = now + hold_s_;
    hold_s_ = std::min(2 * hold_s_, longest_hold_s);
  }

 private:
  static constexpr double first_hold_s = 0.5, longest_hold_s = 4;
  static constexpr int misses_together = 6;
  double limit_ = infinity, top_ms_ = 0, hold_s_ = first_hold_s, until_ = -infinity, missed_at_ = -infinity;
  int since_miss_ = misses_together;
};

// Estimator of the number of later requests that a run of a given time makes late.
class Arrivals {
 public:
  // Record a request at its turn: its arrival, its deadline from then on, its time on the fastest subnet.
  void came(double arrival_s, double deadline_ms, double fastest_ms) {
    for (Run& run : runs_) {
      run.served_ms += fastest_ms;
      const double after_ms = (arrival_s - run.began_s) * 1e3;
      if (after_ms > 0) limits_[bin(after_ms + deadline_ms - run.served_ms)] += weight_;
    }
  }

  // Record the start of a run, of which one in three is followed.
  void begins(double now) {
    constexpr double memory = 0.997, largest_weight = 1e12;
    constexpr std::size_t followed = 10;
    constexpr int every = 3;
    number_ = (number_ + 1) % every;
    if (number_ != 0) return;
    weight_ /= memory;
    if (weight_ > largest_weight) {
      count_ /= weight_;
      for (double& one : limits_) one /= weight_;
      weight_ = 1;
    }
    count_ += weight_;
    double sum = 0;
    for (std::size_t place = 0; place < bins; ++place) {
      below_[place] = sum / count_;
      sum += limits_[place];
    }
    runs_.push_back({now, 0});
    if (runs_.size() > followed) runs_.pop_front();
  }

  // Average number of requests that a run of `run_ms` makes late; never smaller for a longer run.
  double made_late(double run_ms) const { return below_[bin(run_ms)]; }

 private:
  struct Run {
    double began_s, served_ms;
  };
  static constexpr std::size_t bins = 80;

  static std::size_t bin(double ms) {
    constexpr double least_ms = 0.05, per_octave = 4;
    if (ms <= least_ms) return 0;
    return static_cast<std::size_t>(std::min<double>(bins - 1, per_octave / std::log(2.0) * std::log(ms / least_ms)));
  }

  std::deque<Run> runs_;
  std::vector<double> limits_ = std::vector<double>(bins, 0);
  // Average number of limits below each bin, as of the last followed run.
  std::vector<double> below_ = std::vector<double>(bins, 0);
  double count_ = 0, weight_ = 1;
  int number_ = 0;
};

}  // namespace gearshift::detail
