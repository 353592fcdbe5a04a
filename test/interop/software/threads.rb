# Ruby with threads, a queue, fibers, garbage collection and a forked child behind pipes; each proves that it lost no step.
require "digest"

SCRATCH = ARGV[0]
$stop = false
$steps = {}

def publish(name, text)
  File.write("#{SCRATCH}/.#{name}", text)
  File.rename("#{SCRATCH}/.#{name}", "#{SCRATCH}/#{name}")
end

def check(holds, what)
  raise what unless holds
end

def hashes(count)
  count.times.reduce("") { |state, _| Digest::SHA256.digest(state + "x" * 500) }
end

def hasher
  state, count = "", 0
  until $stop
    state = Digest::SHA256.digest(state + "x" * 500)
    $steps[:hash] = count += 1
  end
  check(hashes(count) == state, "the chain of hashes broke")
end

def garbage
  count = 0
  until $stop
    words = Array.new(2000) { |n| "word #{n} of #{count}" }
    check(words.last == "word 1999 of #{count}" && words.sum(&:length) > 0, "words are others")
    $steps[:garbage] = count += 1
  end
end

def consumer(queue)
  expected = 0
  while (item = queue.pop) != :end
    check(item == expected, "item #{item}, not #{expected}")
    $steps[:queue] = expected += 1
  end
end

def producer(queue)
  squares = Enumerator.new { |out| 0.step { |n| out << n } } # a fiber
  until $stop
    queue << squares.next
    sleep 0.0005
  end
  queue << :end
end

def asker(to, from)
  count = 0
  until $stop
    to.puts "question #{count}"
    check(from.gets == "QUESTION #{count}\n", "the child's answer #{count}")
    $steps[:child] = count += 1
  end
  to.close
end

$stdout.sync = true
here, there = IO.pipe, IO.pipe
child = fork do
  here[1].close
  there[0].close
  there[1].sync = true
  while (line = here[0].gets)
    there[1].puts line.upcase
  end
  exit! 7
end
here[0].close
there[1].close
here[1].sync = true
queue = SizedQueue.new(10)
work = { hasher: [], garbage: [], consumer: [queue], producer: [queue], asker: [here[1], there[0]] }
failure = nil
threads = work.map do |name, arguments|
  Thread.new do
    send(name, *arguments)
  rescue Exception => error # any failure is the verdict
    failure ||= "#{name}: #{error.message}"
  end
end
sleep 0.01 until $steps.length == 4
publish("ready", "ready\n")
sleep 0.005 until File.exist?("#{SCRATCH}/go")
before = $steps.dup
1000.times { $steps.all? { |name, count| count > before[name] } ? break : sleep(0.01) }
failure ||= "from #{before} only to #{$steps}" unless $steps.length == 4 && $steps.all? { |name, count| count > before[name] }
$stop = true
threads.each { |thread| failure ||= "a thread hangs" unless thread.join(20) }
_, status = Process.wait2(child)
failure ||= "the child ended with #{status}" unless status.exitstatus == 7
publish("verdict", failure ? "FAIL #{failure}\n" : "PASS\n")
exit! 0
