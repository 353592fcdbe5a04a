// Memory that is there already when it is written to: anonymous pages that several threads populate, while the caller goes on
// or waits. For the copies of a dump.
#include "addon.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace faultline {
namespace {

// While a chunk is populated, none of our threads can map or unmap anything (mmap_lock): a quarter of a millisecond.
constexpr size_t kChunk = size_t{1} << 20, kChunksWorthAThread = 8, kThreadsMax = 4;

struct Chunk {
  uint8_t* from;
  size_t length;
};

struct Population {
  std::vector<Chunk> chunks;
  std::atomic<size_t> next{0};
  std::atomic<int> error{0};
  std::vector<pthread_t> threads;
  // Memory that threads write to stays, whatever becomes of the caller.
  std::vector<Napi::Reference<Napi::ArrayBuffer>> buffers;
};

std::mutex populationsLock;
// Never destroyed: what is left there belongs to JavaScript threads that ended in between.
auto& populations = *new std::map<int32_t, std::unique_ptr<Population>>();
int32_t nextPopulation = 1;

void cut(Population& population, uint8_t* data, size_t length) {
  for (size_t at = 0; at < length; at += kChunk) {
    population.chunks.push_back({data + at, std::min(kChunk, length - at)});
  }
}

// Huge pages would be filled faster where there are some: where the kernel has to make them, or a hypervisor has to back
// them, they take several times as long.
void* populateChunks(void* argument) {
  auto& population = *static_cast<Population*>(argument);
  for (size_t i; (i = population.next++) < population.chunks.size();) {
    const Chunk& chunk = population.chunks[i];
    if (madvise(chunk.from, chunk.length, MADV_POPULATE_WRITE) != 0) population.error = errno;
  }
  return nullptr;
}

void start(Population& population) {
  const size_t processors = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  const size_t wanted = std::min({population.chunks.size() / kChunksWorthAThread, processors, kThreadsMax});
  for (pthread_t thread; population.threads.size() < wanted;) {
    if (pthread_create(&thread, nullptr, populateChunks, &population) != 0) break;
    population.threads.push_back(thread);
  }
}

// 0 or an errno. Takes part in the rest.
int finish(Population& population) {
  populateChunks(&population);
  for (pthread_t thread : population.threads) pthread_join(thread, nullptr);
  return population.error;
}

void* mapPrivate(size_t length) {
  return mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

Napi::Value bufferOf(Napi::Env env, void* data, size_t length) {
  return Napi::ArrayBuffer::New(
      env, data, length,
      [](Napi::Env, void* memory, size_t* size) {
        munmap(memory, *size);
        delete size;
      },
      new size_t(length));
}

// (bytes): an ArrayBuffer over populated memory, or -errno.
Napi::Value allocatePages(const Napi::CallbackInfo& info) {
  const size_t length = u64(info[0]);
  void* data = mapPrivate(length);
  if (data == MAP_FAILED) return number(info.Env(), -errno);
  Population population;
  cut(population, static_cast<uint8_t*>(data), length);
  start(population);
  const int error = finish(population);
  if (error == 0) return bufferOf(info.Env(), data, length);
  munmap(data, length);
  return number(info.Env(), -error);
}

// (bytes): an ArrayBuffer over memory that is yet to be populated, or -errno.
Napi::Value mapPages(const Napi::CallbackInfo& info) {
  const size_t length = u64(info[0]);
  void* data = mapPrivate(length);
  return data == MAP_FAILED ? number(info.Env(), -errno) : bufferOf(info.Env(), data, length);
}

// (ArrayBuffers): begins to populate them. A number for endPopulation.
Napi::Value startPopulation(const Napi::CallbackInfo& info) {
  auto buffers = info[0].As<Napi::Array>();
  auto population = std::make_unique<Population>();
  for (uint32_t i = 0; i < buffers.Length(); i++) {
    auto buffer = buffers.Get(i).As<Napi::ArrayBuffer>();
    cut(*population, static_cast<uint8_t*>(buffer.Data()), buffer.ByteLength());
    population->buffers.push_back(Napi::Persistent(buffer));
  }
  start(*population);
  const std::lock_guard<std::mutex> locked(populationsLock);
  const int32_t id = nextPopulation++;
  populations[id] = std::move(population);
  return number(info.Env(), id);
}

// (number): waits for its end. 0 or -errno.
Napi::Value endPopulation(const Napi::CallbackInfo& info) {
  std::unique_ptr<Population> population;
  {
    const std::lock_guard<std::mutex> locked(populationsLock);
    auto found = populations.find(i32(info[0]));
    if (found == populations.end()) return number(info.Env(), -ENOENT);
    population = std::move(found->second);
    populations.erase(found);
  }
  return number(info.Env(), -finish(*population));
}

}  // namespace

void registerPopulate(Napi::Env env, Napi::Object exports) {
  exports.Set("allocatePages", Napi::Function::New(env, allocatePages));
  exports.Set("mapPages", Napi::Function::New(env, mapPages));
  exports.Set("startPopulation", Napi::Function::New(env, startPopulation));
  exports.Set("endPopulation", Napi::Function::New(env, endPopulation));
}

}  // namespace faultline
