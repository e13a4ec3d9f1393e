"""Programs that divide by zero some calls deep, for tests to compile."""

from __future__ import annotations

C = """\
#include "wasmos.h"
static int divide(int a, int b) {
  return a / b;
}
static inline __attribute__((always_inline)) int middle(int x) {
  return divide(10, x) + 1;
}
__attribute__((noinline)) static int compute(int x) {
  return middle(x) * 2;
}
int main(void) {
  volatile int zero = 0;
  return compute(zero);
}
"""
CPP = """\
extern "C" {
#include "wasmos.h"
}
namespace math {
struct Ratio {
  int top, bottom;
  int value() const;
};
__attribute__((noinline)) int Ratio::value() const { return top / bottom; }
namespace {
template <typename T> __attribute__((noinline)) T twice(const Ratio &ratio) {
  return 2 * ratio.value();
}
}
}
extern "C" int main(void) {
  volatile int zero = 0;
  return math::twice<int>(math::Ratio{1, zero});
}
"""
