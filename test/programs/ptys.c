// A pseudo-terminal pair inside the tree: unread data, settings, window size, and a session that it controls.
// alone: its terminal number must be free at the restore
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { control_characters = 17 }; // those that have a meaning (VINTR to VEOL2)

static volatile sig_atomic_t resized;
static void handler(int signal) { (void)signal; resized = 1; }

int main(int argc, char **argv) {
  test_init(argc, argv);
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  char slave_name[64];
  snprintf(slave_name, sizeof slave_name, "%s", ptsname(master));
  pid_t child = MUST(fork());
  if (child == 0) {
    MUST(setsid());
    int slave = MUST(open(slave_name, O_RDWR));
    MUST(ioctl(slave, TIOCSCTTY, 0));
    close(master);
    signal(SIGWINCH, handler);
    struct termios settings;
    MUST(tcgetattr(slave, &settings));
    settings.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    settings.c_cc[VMIN] = 1;
    for (int i = 0; i < control_characters; i++)
      if (i != VMIN && i != VTIME) settings.c_cc[i] = (cc_t)(200 + i); // none that is read or written here
    MUST(tcsetattr(slave, TCSANOW, &settings));
    MUST(ioctl(slave, TIOCSWINSZ, &(struct winsize){33, 99, 0, 0}));
    MUST(write(slave, "unread", 6));
    test_child_ready(0);
    test_wait();
    struct termios now;
    struct winsize size;
    MUST(tcgetattr(slave, &now));
    CHECK(now.c_lflag == settings.c_lflag && now.c_iflag == settings.c_iflag, "terminal settings");
    for (int i = 0; i < control_characters; i++)
      CHECK(now.c_cc[i] == settings.c_cc[i], "control character %d is %d, was %d", i, now.c_cc[i], settings.c_cc[i]);
    MUST(ioctl(slave, TIOCGWINSZ, &size));
    CHECK(size.ws_row == 33 && size.ws_col == 99, "window size %d x %d", size.ws_row, size.ws_col);
    CHECK(tcgetpgrp(slave) == getpgrp(), "foreground group %d, not %d", tcgetpgrp(slave), getpgrp());
    MUST(close(MUST(open("/dev/tty", O_RDWR)))); // it controls this session
    test_child_ready(1);
    char byte;
    CHECK(read(slave, &byte, 1) == 1 && byte == 'k', "a key did not arrive");
    for (int i = 0; i < 1000 && !resized; i++) test_sleep_ms(2);
    CHECK(resized, "no signal when the window changed");
    MUST(write(slave, "done", 4));
    test_sleep_ms(20);
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  char got[64];
  CHECK(strcmp(ptsname(master), slave_name) == 0, "the slave is %s now, was %s", ptsname(master), slave_name);
  CHECK(read(master, got, 6) == 6 && memcmp(got, "unread", 6) == 0, "unread data of the terminal");
  test_await_child(1);
  MUST(write(master, "k", 1));
  MUST(ioctl(master, TIOCSWINSZ, &(struct winsize){40, 100, 0, 0}));
  CHECK(read(master, got, 4) == 4 && memcmp(got, "done", 4) == 0, "the terminal's answer");
  test_reap(child);
  test_pass();
}
