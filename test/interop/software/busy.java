// A JVM with compiled code, garbage collection, queues, timers, locks, a child process and file access: nothing is lost or done twice.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

class Busy {
  static final int documents = 20_000;
  static volatile boolean stop;
  static volatile String failure;
  static final Map<String, Long> steps = new ConcurrentHashMap<>();

  interface Work {
    void run() throws Exception;
  }

  static void check(boolean holds, String what) {
    if (!holds) throw new IllegalStateException(what);
  }

  static Thread start(String name, Work work) {
    Thread thread = new Thread(() -> {
      try {
        work.run();
      } catch (Throwable error) { // any failure is the verdict
        failure = name + ": " + error;
      }
    }, name);
    thread.start();
    return thread;
  }

  static byte[] hashes(long count) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    byte[] state = new byte[32];
    for (long i = 0; i < count; i++) state = digest.digest(state);
    return state;
  }

  static void hash() throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    byte[] state = new byte[32];
    long count = 0;
    for (; !stop; count++) state = digest.digest(state);
    check(Arrays.equals(state, hashes(count)), "the chain of hashes broke");
    steps.put("hash", count);
  }

  static String document(int key, long version) {
    return "document " + key + " version " + version + " " + "x".repeat(key % 300);
  }

  /** A table whose entries are replaced all the time, so that most of the heap is garbage. */
  static void table() {
    Map<Integer, String> table = new HashMap<>();
    long[] versions = new long[documents];
    for (int key = 0; key < documents; key++) table.put(key, document(key, 0));
    long count = 0;
    for (; !stop; count++) {
      int key = (int) (count * 7919 % documents);
      check(document(key, versions[key]).equals(table.get(key)), "document " + key + " is another one");
      table.put(key, document(key, ++versions[key]));
    }
    for (int key = 0; key < documents; key++) check(document(key, versions[key]).equals(table.get(key)), "document " + key + " at the end");
    steps.put("table", count);
  }

  static void produce(BlockingQueue<Long> queue) throws Exception {
    for (long item = 0; !stop; item++) queue.put(item);
    queue.put(-1L);
  }

  static void consume(BlockingQueue<Long> queue) throws Exception {
    long expected = 0;
    for (long item; (item = queue.take()) >= 0; expected++) check(item == expected, "item " + item + ", not " + expected);
    steps.put("queue", expected);
  }

  static void sleep() throws Exception {
    while (!stop) {
      long before = System.nanoTime();
      Thread.sleep(20);
      check(System.nanoTime() - before >= 19_000_000, "a sleep was cut short");
    }
  }

  /** Asks a child process and compares what it answers. */
  static void ask() throws Exception {
    Process cat = new ProcessBuilder("/bin/cat").start();
    PrintWriter to = new PrintWriter(cat.getOutputStream(), true);
    BufferedReader from = new BufferedReader(new InputStreamReader(cat.getInputStream()));
    long count = 0;
    for (; !stop; count++) {
      to.println("line " + count);
      String line = from.readLine();
      check(("line " + count).equals(line), "the child answered " + line);
    }
    to.close();
    check(cat.waitFor() == 0, "the child ended with " + cat.exitValue());
    steps.put("child", count);
  }

  static void publish(Path scratch, String name, String text) throws Exception {
    Path temporary = scratch.resolve("." + name);
    Files.writeString(temporary, text);
    Files.move(temporary, scratch.resolve(name));
  }

  public static void main(String[] arguments) throws Exception {
    Path scratch = Path.of(arguments[0]);
    BlockingQueue<Long> queue = new ArrayBlockingQueue<>(10);
    AtomicLong ticks = new AtomicLong();
    var timer = Executors.newSingleThreadScheduledExecutor();
    timer.scheduleAtFixedRate(ticks::incrementAndGet, 0, 5, TimeUnit.MILLISECONDS);
    List<Thread> threads = new ArrayList<>();
    threads.add(start("hash", Busy::hash));
    threads.add(start("table", Busy::table));
    threads.add(start("producer", () -> produce(queue)));
    threads.add(start("consumer", () -> consume(queue)));
    threads.add(start("sleeper", Busy::sleep));
    threads.add(start("child", Busy::ask));
    Thread.sleep(300); // until the loops are compiled
    publish(scratch, "ready", "ready\n");
    while (!Files.exists(scratch.resolve("go"))) Thread.sleep(5);
    long before = ticks.get();
    Thread.sleep(200);
    stop = true;
    for (Thread thread : threads) {
      thread.join(20_000);
      if (thread.isAlive()) failure = thread.getName() + " hangs";
    }
    if (failure == null && ticks.get() == before) failure = "the timer stands still";
    for (String name : List.of("hash", "table", "queue", "child"))
      if (failure == null && steps.getOrDefault(name, 0L) < 10) failure = "too few steps: " + steps;
    publish(scratch, "verdict", failure == null ? "PASS\n" : "FAIL " + failure + "\n");
    System.exit(0);
  }
}
