// One session of ONNX Runtime over one elastic graph: the subnet is an input of each call.
//
// It uses the C API, which every release has: the C++ wrapper is another header on top of it.

#pragma once

#include <onnxruntime_c_api.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gearshift/gearshift.h"
#include "manifest.h"
#include "words.h"

namespace gearshift::detail {

static_assert(ORT_API_VERSION >= 18, "expected the header of onnxruntime 1.18 or newer");

using Column = std::vector<std::int64_t>;

class Runtime {
 public:
  // Functions of the library; raises BundleError if it is older than the header that this was compiled with.
  static const OrtApi& api() {
    static const OrtApi* found = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (found == nullptr)
      throw BundleError("expected onnxruntime 1." + std::to_string(ORT_API_VERSION) + " or newer, found " + version() +
                        "; link the library that the header is of");
    return *found;
  }
  static std::string version() { return OrtGetApiBase()->GetVersionString(); }
  static OrtEnv* environment() {
    static OrtEnv* made = [] {
      OrtEnv* one = nullptr;
      check(api().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "gearshift", &one));
      return one;  // lives as long as the program, as onnxruntime wants it
    }();
    return made;
  }
  // Raise std::runtime_error in one line for a failure.
  static void check(OrtStatus* status) {
    if (status == nullptr) return;
    const std::string told = one_line(api().GetErrorMessage(status));
    api().ReleaseStatus(status);
    throw std::runtime_error(told);
  }
  // Raise SchemaError if the library is older than a bundle needs.
  static void check_version(const std::string& minimum) {
    const std::string found = version();
    const auto part = [](const std::string& text, std::size_t& at) {
      const int number = std::atoi(text.c_str() + std::min(at, text.size()));
      const std::size_t dot = text.find('.', at);
      at = dot == std::string::npos ? text.size() : dot + 1;
      return number;
    };
    for (std::size_t one = 0, other = 0; one < minimum.size();) {
      const int wanted = part(minimum, one), given = part(found, other);
      if (given > wanted) return;
      if (given < wanted)
        throw SchemaError("this bundle needs onnxruntime " + minimum + " or newer, found " + found + "; install a newer one");
    }
  }
};

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

class ElasticSession {
 public:
  // Opens a graph, with its weights by the name that the graph has for them; raises BundleError if onnxruntime cannot.
  // A graph with its weights inside has none.
  ElasticSession(const Manifest& manifest, const Bytes& graph, const std::string& weights_name, Bytes& weights, int threads,
                 std::string place)
      : inputs_(manifest.inputs), output_(manifest.task->output), place_(std::move(place)), session_(nullptr, [](OrtSession* one) {
          Runtime::api().ReleaseSession(one);
        }) {
    try {
      const OrtApi& api = Runtime::api();
      OrtSessionOptions* options = nullptr;
      Runtime::check(api.CreateSessionOptions(&options));
      const Owned<OrtSessionOptions> owned(options, [](OrtSessionOptions* one) { Runtime::api().ReleaseSessionOptions(one); });
      set(options, manifest.session_options, threads);
      if (!weights.empty()) {
        const auto name = path_of(weights_name);
        const ORTCHAR_T* names[] = {name.c_str()};
        char* contents[] = {reinterpret_cast<char*>(weights.data())};
        const std::size_t sizes[] = {weights.size()};
        Runtime::check(api.AddExternalInitializersFromFilesInMemory(options, names, contents, sizes, 1));
      }
      OrtSession* session = nullptr;
      Runtime::check(api.CreateSessionFromArray(Runtime::environment(), graph.data(), graph.size(), options, &session));
      session_.reset(session);
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& error) {
      throw BundleError(place_ + ": onnxruntime " + Runtime::version() + " cannot load it (" + error.what() + ")");
    }
  }

  // Run the subnet of a choice on columns of (texts, tokens) numbers; returns the graph's numbers.
  std::vector<float> run(const std::map<std::string, Column>& columns, std::int64_t texts, std::int64_t tokens, const Column& choice) const {
    try {
      std::vector<Owned<OrtValue>> values;
      std::vector<const char*> names;
      const std::int64_t shape[] = {texts, tokens}, stages[] = {static_cast<std::int64_t>(choice.size())};
      for (const std::string& name : inputs_) {
        names.push_back(name.c_str());
        values.push_back(tensor(columns.at(name), shape, 2));
      }
      names.push_back("choice");
      values.push_back(tensor(choice, stages, 1));
      std::vector<const OrtValue*> feeds;
      for (const Owned<OrtValue>& value : values) feeds.push_back(value.get());
      const char* outputs[] = {output_.c_str()};
      OrtValue* result = nullptr;
      Runtime::check(Runtime::api().Run(session_.get(), nullptr, names.data(), feeds.data(), feeds.size(), outputs, 1, &result));
      const Owned<OrtValue> owned = value_of(result);
      return numbers(result);
    } catch (const std::runtime_error& error) {
      throw BundleError(place_ + ": onnxruntime could not run it (" + error.what() + ")");
    }
  }

 private:
  static std::basic_string<ORTCHAR_T> path_of(const std::string& name) { return {name.begin(), name.end()}; }

  static Owned<OrtValue> value_of(OrtValue* value) {
    return {value, [](OrtValue* one) { Runtime::api().ReleaseValue(one); }};
  }

  static void set(OrtSessionOptions* options, const std::map<std::string, std::string>& entries, int threads) {
    static const std::map<std::string, GraphOptimizationLevel> levels = {
        {"disable", ORT_DISABLE_ALL}, {"basic", ORT_ENABLE_BASIC}, {"extended", ORT_ENABLE_EXTENDED}, {"all", ORT_ENABLE_ALL}};
    const auto entry = [&](const char* name, const char* otherwise) {
      const auto found = entries.find(name);
      return found == entries.end() ? std::string(otherwise) : found->second;
    };
    const OrtApi& api = Runtime::api();
    Runtime::check(api.SetIntraOpNumThreads(options, threads));
    Runtime::check(api.SetInterOpNumThreads(options, 1));
    Runtime::check(api.SetSessionExecutionMode(options, ORT_SEQUENTIAL));
    Runtime::check(api.SetSessionLogSeverityLevel(options, 3));
    Runtime::check(api.SetSessionGraphOptimizationLevel(options, levels.at(entry("graph_optimization_level", "disable"))));
    const std::string spinning = "session.intra_op.allow_spinning";
    Runtime::check(api.AddSessionConfigEntry(options, spinning.c_str(), entry(spinning.c_str(), "0").c_str()));
  }

  // Tensor over the memory of a column, which must outlive it.
  static Owned<OrtValue> tensor(const Column& column, const std::int64_t* shape, std::size_t rank) {
    static const Owned<OrtMemoryInfo> memory = [] {
      OrtMemoryInfo* made = nullptr;
      Runtime::check(Runtime::api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made));
      return Owned<OrtMemoryInfo>(made, [](OrtMemoryInfo* one) { Runtime::api().ReleaseMemoryInfo(one); });
    }();
    OrtValue* made = nullptr;
    Runtime::check(Runtime::api().CreateTensorWithDataAsOrtValue(
        memory.get(), const_cast<std::int64_t*>(column.data()), column.size() * sizeof(std::int64_t), shape, rank,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &made));
    return value_of(made);
  }

  static std::vector<float> numbers(OrtValue* value) {
    const OrtApi& api = Runtime::api();
    OrtTensorTypeAndShapeInfo* info = nullptr;
    Runtime::check(api.GetTensorTypeAndShape(value, &info));
    const Owned<OrtTensorTypeAndShapeInfo> owned(info, [](OrtTensorTypeAndShapeInfo* one) {
      Runtime::api().ReleaseTensorTypeAndShapeInfo(one);
    });
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    Runtime::check(api.GetTensorElementType(info, &type));
    if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) throw std::runtime_error("an output that is not float32");
    std::size_t count = 0;
    Runtime::check(api.GetTensorShapeElementCount(info, &count));
    void* data = nullptr;
    Runtime::check(api.GetTensorMutableData(value, &data));
    const float* first = static_cast<const float*>(data);
    return {first, first + count};
  }

  std::vector<std::string> inputs_;
  std::string output_, place_;
  Owned<OrtSession> session_;
};

}  // namespace gearshift::detail
