// From the output of a graph to an answer (docs/bundle.md, "Answers").

#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gearshift/gearshift.h"
#include "manifest.h"

namespace gearshift::detail {

inline std::vector<double> softmax(const std::vector<float>& logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> made;
  double total = 0;
  for (const float one : logits) total += made.emplace_back(std::exp(one - highest));
  for (double& one : made) one /= total;
  return made;
}

inline double sigmoid(double logit) {
  return logit >= 0 ? 1 / (1 + std::exp(-logit)) : std::exp(logit) / (1 + std::exp(logit));
}

// Read the answer of a bundle's task from the graph's numbers for one text; raises BundleError for too few.
inline Answer read_answer(const Manifest& manifest, const std::vector<float>& output) {
  Answer made;
  const std::string task = manifest.task->name;
  const std::size_t wanted = manifest.labels.empty() ? 1 : manifest.labels.size();
  if (output.size() < wanted || (task != "embedding" && output.size() != wanted))
    throw BundleError("expected " + std::to_string(wanted) + " numbers of the graph, found " + std::to_string(output.size()) +
                      "; export the bundle again");
  if (task == "embedding") {
    made.vector = output;
  } else if (task == "regression") {
    made.value = output[0];
  } else if (task == "classification") {
    const std::vector<double> shares = softmax(output);
    const auto best = static_cast<std::size_t>(std::max_element(output.begin(), output.end()) - output.begin());
    made.label = manifest.labels[best];
    made.score = shares[best];
    for (std::size_t place = 0; place < shares.size(); ++place) made.scores[manifest.labels[place]] = shares[place];
  } else {
    std::vector<std::size_t> order;
    std::vector<double> scores;
    for (std::size_t place = 0; place < output.size(); ++place) {
      scores.push_back(sigmoid(output[place]));
      made.scores[manifest.labels[place]] = scores.back();
      if (scores.back() >= 0.5) order.push_back(place);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t one, std::size_t other) { return scores[one] > scores[other]; });
    for (const std::size_t place : order) made.labels.push_back(manifest.labels[place]);
  }
  return made;
}

}  // namespace gearshift::detail
