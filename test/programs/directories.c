// Directories: one read halfway, one used for *at calls.
#include "check.h"
#include <dirent.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("many"), 0755));
  for (int i = 0; i < 50; i++) {
    char name[32];
    snprintf(name, sizeof name, "many/entry-%d", i);
    MUST(close(MUST(open(test_path(name), O_CREAT | O_WRONLY, 0644))));
  }
  DIR *listing = opendir(test_path("many"));
  if (listing == NULL) test_fail("opendir");
  int folder = MUST(open(test_path("many"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int seen = 0;
  struct dirent *entry;
  while (seen < 20 && (entry = readdir(listing)) != NULL) seen++;
  test_ready();
  test_wait();
  while ((entry = readdir(listing)) != NULL) seen++;
  CHECK(seen == 52, "%d entries seen in all, not 52", seen);
  MUST(close(MUST(openat(folder, "made-later", O_CREAT | O_WRONLY, 0644))));
  MUST(access(test_path("many/made-later"), F_OK));
  test_pass();
}
