// Memory of float or of bfloat16 elements, for interfaces that take either.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/bfloat16.h"

namespace offshoot::cuda {

enum class ElementType : uint8_t { f32, bf16 };

template <class T>
requires std::is_same_v<T, float> || std::is_same_v<T, bfloat16>
inline constexpr ElementType kElementType =
    std::is_same_v<T, float> ? ElementType::f32 : ElementType::bf16;

constexpr int64_t element_bytes(ElementType type) { return type == ElementType::f32 ? 4 : 2; }
constexpr const char* element_name(ElementType type) {
  return type == ElementType::f32 ? "float32" : "bfloat16";
}

// Where the elements are, and their type; null by default.
struct Elements {
  void* data = nullptr;
  ElementType type = ElementType::f32;

  Elements() = default;
  template <class T>
  Elements(T* at) : data(at), type(kElementType<T>) {}
  Elements(void* at, ElementType element_type) : data(at), type(element_type) {}

  explicit operator bool() const { return data != nullptr; }
};

struct ConstElements {
  const void* data = nullptr;
  ElementType type = ElementType::f32;

  ConstElements() = default;
  template <class T>
  ConstElements(T* at) : data(at), type(kElementType<std::remove_const_t<T>>) {}
  ConstElements(const Elements& elements) : data(elements.data), type(elements.type) {}
  ConstElements(const void* at, ElementType element_type) : data(at), type(element_type) {}

  explicit operator bool() const { return data != nullptr; }
};

// The pointer `count` elements on.
inline Elements operator+(Elements elements, int64_t count) {
  const int64_t bytes = count * element_bytes(elements.type);
  return {static_cast<char*>(elements.data) + bytes, elements.type};
}
inline ConstElements operator+(ConstElements elements, int64_t count) {
  const int64_t bytes = count * element_bytes(elements.type);
  return {static_cast<const char*>(elements.data) + bytes, elements.type};
}

}  // namespace offshoot::cuda
