// fuzz_seeds FOLDER: writes a good checkpoint and the corpus of broken ones, without user blocks.
#include <cstdio>
#include <string>

#include "tests/engine/broken_file.h"
#include "tests/engine/file_test.h"
#include "tests/engine/small_run.h"

int main(int argc, char** argv) {
  using namespace offshoot;
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
    return 2;
  }
  const std::string folder = argv[1], scratch = folder + "/scratch";
  offshoot::testing::SmallRun run;
  live(run);
  save(scratch, run);
  const std::string good = bytes_of(scratch);
  put_bytes(folder + "/good.h5", offshoot::testing::bare(good));
  put_bytes(folder + "/checkpoint.h5", good);
  int number = 0;
  for (const offshoot::testing::BrokenFile& file : offshoot::testing::edited_files(good, scratch)) {
    put_bytes(fmt::format("{}/edited-{}.h5", folder, number++),
              offshoot::testing::bare(file.bytes));
  }
  return 0;
}
