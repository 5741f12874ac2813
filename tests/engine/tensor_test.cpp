#include "engine/tensor.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/growable_buffer.h"

namespace offshoot {
namespace {

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::vector<float> values(const Tensor& tensor) {
  const auto elements = tensor.elements<float>();
  return {elements.begin(), elements.end()};
}

TEST(Shape, CountsAndIndexes) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.size(), 30);
  EXPECT_EQ(shape.last(), 5);
  EXPECT_EQ(shape.axis(-1, "test"), 2);
  EXPECT_EQ(shape.axis(0, "test"), 0);
  EXPECT_EQ(Shape{}.size(), 1);
  EXPECT_EQ((Shape{4, 0, 7}.size()), 0);
  EXPECT_EQ(to_string(shape), "[2, 3, 5]");
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_THROW((void)shape.axis(3, "test"), Error);
  EXPECT_THROW((void)shape.axis(-4, "test"), Error);
}

TEST(Shape, Changes) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.with(1, 7), (Shape{2, 7, 5}));
  EXPECT_EQ(shape.without(0), (Shape{3, 5}));
  EXPECT_EQ(shape.inserted(1, 9), (Shape{2, 9, 3, 5}));
  EXPECT_EQ(shape.inserted(3, 9), (Shape{2, 3, 5, 9}));
  EXPECT_NE(shape, (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{1}), Shape{});
}

TEST(Shape, RefusesWhatCannotBe) {
  EXPECT_THROW((Shape{2, -1}), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{int64_t{1} << 32, int64_t{1} << 32}), Error);
  EXPECT_THROW((Shape{int64_t{1} << 61}), Error);  // its bytes would be counted as 0
}

TEST(Tensor, MakesWhatItIsAskedFor) {
  const Tensor from = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(values(from), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(from.dtype(), DType::f32);
  EXPECT_EQ(from.bytes(), 24);
  EXPECT_EQ(from.dim(-1), 3);
  EXPECT_EQ(from.dim(0), 2);
  EXPECT_EQ(values(Tensor::zeros({3}, DType::f32)), std::vector<float>(3, 0.0f));
  EXPECT_EQ(values(Tensor::full({2, 1}, DType::f32, 2.5)), std::vector<float>(2, 2.5f));
  const Tensor counts = Tensor::full({2}, DType::i64, 7);
  EXPECT_EQ(counts.elements<int64_t>()[1], 7);
  EXPECT_EQ(Tensor::zeros({0, 4}, DType::f32).size(), 0);
  EXPECT_THROW((Tensor::from<float>({2, 2}, {1, 2, 3})), Error);
}

TEST(Tensor, UndefinedHasNothing) {
  const Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_THROW((void)none.shape(), Error);
  EXPECT_THROW((void)none.raw(), Error);
  try {
    (void)none.size();
  } catch (const Error& error) {  // the caller's mistake, and no bug of ours
    EXPECT_EQ(std::string(error.what()).rfind("[tensor]", 0), 0) << error.what();
  }
}

TEST(Tensor, CopiesShareElementsAndIdentity) {
  const Tensor a = Tensor::from<float>({2}, {1, 2});
  const Tensor b = a;
  b.elements<float>()[0] = 9;
  EXPECT_EQ(values(a)[0], 9);
  EXPECT_EQ(a.key(), b.key());
}

TEST(Tensor, AViewSharesElementsOnly) {
  const Tensor a = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor view = a.view({3, 2});
  view.elements<float>()[5] = 50;
  EXPECT_EQ(values(a)[5], 50);
  EXPECT_NE(view.key(), a.key());
  EXPECT_EQ(view.shape(), (Shape{3, 2}));
  EXPECT_THROW((void)a.view({4}), Error);
}

TEST(Tensor, RowsAreAPartOfTheFirstAxis) {
  const Tensor a = Tensor::from<float>({3, 2}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(values(a.rows(1, 2)), (std::vector<float>{2, 3, 4, 5}));
  EXPECT_EQ(a.rows(1, 1).shape(), (Shape{1, 2}));
  EXPECT_EQ(values(a.rows(1, 2).rows(1, 1)), (std::vector<float>{4, 5}));
  EXPECT_EQ(a.rows(3, 0).size(), 0);
  EXPECT_EQ((Tensor::zeros({0, 2}, DType::f32).rows(0, 0).size()), 0);
  EXPECT_THROW((void)a.rows(2, 2), Error);
  EXPECT_THROW((void)a.rows(-1, 1), Error);
  EXPECT_THROW((void)a.rows(0, -1), Error);
  EXPECT_THROW((void)a.rows(INT64_MAX, 1), Error);
  EXPECT_THROW((void)Tensor::scalar(1, DType::f32).rows(0, 1), Error);
}

TEST(Tensor, ItemIsTheOnlyElement) {
  EXPECT_EQ(Tensor::scalar(1.25, DType::f32).item(), 1.25);
  EXPECT_EQ(Tensor::scalar(1.25, DType::f64).item(), 1.25);
  EXPECT_EQ((Tensor::from<int32_t>({1, 1}, {-3}).item()), -3);
  EXPECT_EQ((Tensor::from<int64_t>({1}, {1 << 20}).item()), 1 << 20);
  EXPECT_THROW((void)Tensor::zeros({2}, DType::f32).item(), Error);
  EXPECT_THROW((void)Tensor::zeros({0}, DType::f32).item(), Error);
}

TEST(Tensor, ElementsAreOfTheTensorsType) {
  const Tensor a = Tensor::zeros({2}, DType::f32);
  const std::string text = error_of([&] { (void)a.data<double>(); });
  EXPECT_NE(text.find("got f64, expected f32"), std::string::npos) << text;
  EXPECT_THROW((void)a.elements<int32_t>(), Error);
}

TEST(Tensor, ACloneHasElementsOfItsOwn) {
  const Tensor a = Tensor::from<float>({2, 2}, {1, 2, 3, 4});
  const Tensor copy = a.rows(1, 1).clone();
  a.elements<float>()[2] = 0;
  EXPECT_EQ(values(copy), (std::vector<float>{3, 4}));
}

TEST(Tensor, CopiesBetweenTensorsOfOneShapeAndType) {
  const Tensor a = Tensor::from<float>({2}, {1, 2}), b = Tensor::zeros({2}, DType::f32);
  copy_elements(a, b);
  EXPECT_EQ(values(b), values(a));
  fill_zero(a);
  EXPECT_EQ(values(a), std::vector<float>(2, 0.0f));
  EXPECT_THROW(copy_elements(a, Tensor::zeros({2, 1}, DType::f32)), Error);
  EXPECT_THROW(copy_elements(a, Tensor::zeros({2}, DType::f64)), Error);
}

TEST(Tensor, AHandleOnRowsThatWentSaysSo) {
  const auto buffer = std::make_shared<GrowableBuffer>("rows", 64);
  buffer->commit(32);
  buffer->expose(32);
  const Tensor four(buffer, 0, {4, 2}, DType::f32), two = four.rows(0, 2);
  buffer->expose(16);
  EXPECT_NE(error_of([&] { (void)four.raw(); }).find("rows that were removed"), std::string::npos);
  EXPECT_NO_THROW((void)two.raw());
}

}  // namespace
}  // namespace offshoot
