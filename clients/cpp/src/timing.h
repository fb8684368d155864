// Latency table of a bundle on this device: shipped with it, kept by an earlier start, or timed now and kept.

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bundle.h"
#include "latency_table.h"

namespace gearshift::detail {

// Moment in ms on a clock that only goes forward.
inline double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Name of the machine, under which tables are kept.
inline std::string device_name() {
  std::string model = "unknown";
#if defined(__linux__)
  std::ifstream facts("/proc/cpuinfo");
  for (std::string line; std::getline(facts, line);)
    if (line.compare(0, 10, "model name") == 0 || line.compare(0, 8, "CPU part") == 0) {
      model = line.substr(std::min(line.size(), line.find(':') + 2));
      break;
    }
#endif
  return model + " " + std::to_string(std::thread::hardware_concurrency());
}

// A DAN, and texts that it knows some n-grams of.
struct TestedDan {
  std::unique_ptr<Dan> dan;
  std::vector<std::u32string> texts;

  // A text of about so many words.
  std::u32string sample(int length) const {
    std::u32string made;
    int words = 0;
    for (std::size_t place = 0; words < length; ++place) {
      const std::u32string& text = texts[place % texts.size()];
      words += 1 + static_cast<int>(std::count_if(text.begin(), text.end(), is_blank));
      made += text + U" ";
    }
    return made;
  }
};

// Time every subnet at every length, in rounds of a new random order.
inline LatencyTable timed(const ElasticSession& session, const TestedDan& dan, const Manifest& manifest, const std::vector<PoolEntry>& pool) {
  constexpr int runs = 5, fewest_runs = 3;
  constexpr double budget_ms = 2000;
  struct Call {
    int length;
    const PoolEntry* entry;
    std::vector<double> times;
  };
  std::mt19937_64 source(std::random_device{}());
  std::vector<Call> calls;
  LatencyTable table{default_lengths(manifest.max_length), {}};
  std::map<int, std::map<std::string, Column>> inputs;
  for (const int length : table.lengths) {
    Encoding random;
    std::uniform_int_distribution<std::int64_t> id(0, std::max(0, manifest.vocabulary - 1));
    for (int token = 0; token < length; ++token) random.ids.push_back(id(source));
    random.types.assign(random.ids.size(), 0);
    inputs[length] = Bundle::columns(random);
    for (const PoolEntry& entry : pool) calls.push_back({length, &entry, {}});
  }
  const auto run = [&](const Call& call) {
    const bool is_dan = call.entry->executor == "dan";
    const std::u32string text = is_dan ? dan.sample(call.length) : U"";
    const double began = now_ms();
    if (is_dan) dan.dan->run({text});
    else session.run(inputs[call.length], 1, call.length, call.entry->choice);
    return now_ms() - began;
  };
  for (const Call& call : calls) run(call);
  std::vector<std::size_t> order(calls.size());
  for (std::size_t place = 0; place < order.size(); ++place) order[place] = place;
  const double began = now_ms();
  for (int round = 0; round < runs && (round < fewest_runs || now_ms() - began < budget_ms); ++round) {
    std::shuffle(order.begin(), order.end(), source);
    for (const std::size_t place : order) calls[place].times.push_back(run(calls[place]));
  }
  for (Call& call : calls) {
    std::sort(call.times.begin(), call.times.end());
    const std::size_t middle = call.times.size() / 2;
    const double median = call.times.size() % 2 ? call.times[middle] : (call.times[middle - 1] + call.times[middle]) / 2;
    table.median_ms[call.entry->name].push_back(std::max(median, 1e-3));
  }
  return table;
}

// Most tables of a file, of whatever bundles; the oldest are dropped first.
inline constexpr std::size_t most_tables = 32;

// Keep a table in a file in the form of `latencies.json`, after those of other keys; what cannot be written is not kept.
inline void keep(const std::string& path, const std::string& before, const TableKey& key, const LatencyTable& table) {
  std::vector<std::string> others;
  try {
    const Json raw = JsonReader::read(before);
    for (const Json& one : raw.at("tables").as_list()) {
      try {
        LatencyTable old;
        const TableKey own{one.at("manifest").as_text(), one.at("precision").as_text(), one.at("device").as_text(),
                           static_cast<int>(one.at("threads").as_number())};
        if (own.manifest == key.manifest && own.precision == key.precision && own.threads == key.threads && own.device == key.device)
          continue;  // to be replaced
        for (const Json& length : one.at("lengths").as_list()) old.lengths.push_back(static_cast<int>(length.as_number()));
        for (const auto& [name, times] : one.at("median_ms").as_object())
          for (const Json& time : times.as_list()) old.median_ms[name].push_back(time.as_number());
        others.push_back(table_entry(own, old) + ",\n");
      } catch (const std::runtime_error&) {  // of another form: the others stay
      }
    }
  } catch (const std::runtime_error&) {
    others.clear();
  }
  std::string kept;
  for (std::size_t place = others.size() < most_tables ? 0 : others.size() - most_tables + 1; place < others.size(); ++place)
    kept += others[place];
  const std::string fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
    file << "{\"schema_version\": 1, \"tables\": [\n" << kept << table_entry(key, table) << "\n]}\n";
    if (!file.good()) return;
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0) std::remove(fresh.c_str());
}

inline LatencyTable table_of(const Bundle& bundle, const ElasticSession& session, const TestedDan& dan, const std::string& precision, const LoadOptions& options) {
  const std::vector<PoolEntry> pool = bundle.switchable(precision);
  std::vector<std::string> names;
  for (const PoolEntry& entry : pool) names.push_back(entry.name);
  if (options.table) return checked_table(*options.table, names);
  const TableKey key{bundle.manifest().hash, precision, options.device.empty() ? device_name() : options.device, options.threads};
  if (auto shipped = kept_table(bundle.latencies(), key, names)) return *shipped;
  std::ostringstream content;
  if (!options.tables.empty()) {
    std::ifstream file(options.tables, std::ios::binary);
    content << file.rdbuf();
  }
  if (auto kept = kept_table(content.str(), key, names)) return *kept;
  LatencyTable made = timed(session, dan, bundle.manifest(), pool);
  if (!options.tables.empty()) keep(options.tables, content.str(), key, made);
  return made;
}

}  // namespace gearshift::detail
