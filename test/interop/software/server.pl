# perl with a forked worker behind pipes, signal handlers, a timer, a sorted table and a compiled expression.
use strict;
use warnings;
use IO::Handle;
my $scratch = $ARGV[0];
sub publish { my ($name, $text) = @_; open(my $f, '>', "$scratch/.$name") or die; print $f $text; close $f; rename "$scratch/.$name", "$scratch/$name"; }
my $alarms = 0;
$SIG{ALRM} = sub { $alarms++; };
pipe(my $ask_out, my $ask_in) or die;
pipe(my $answer_out, my $answer_in) or die;
my $worker = fork();
if ($worker == 0) {
  close $ask_in; close $answer_out; $answer_in->autoflush(1);
  while (my $line = <$ask_out>) { chomp $line; print $answer_in scalar(reverse $line), "\n"; }
  exit 7;
}
close $ask_out; close $answer_in; $ask_in->autoflush(1);
my %table = map { ("key $_" => $_ * $_) } 1 .. 20000;
my $pattern = qr/^key (\d+)5$/;
require Time::HiRes;
Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0.02, 0.02);
my ($asked, $failure) = (0, undef);
until (-e "$scratch/go") {
  print $ask_in "question $asked\n";
  my $answer = <$answer_out>;
  $failure //= "answer $answer" unless defined $answer && $answer eq reverse("question $asked") . "\n";
  $asked++;
  publish('ready', "ready\n") if $asked == 50;
  Time::HiRes::sleep(0.003);
}
my $before = $alarms;
for (1 .. 2000) { last if $alarms > $before + 3; Time::HiRes::sleep(0.002); }
$failure //= "the timer stopped" unless $alarms > $before + 3;
my $sum = 0;
for my $key (keys %table) { $sum += $table{$key} if $key =~ $pattern; }
my $expected = 0;
for (1 .. 20000) { $expected += $_ * $_ if $_ >= 10 && $_ % 10 == 5; }
$failure //= "the table adds up to $sum, not $expected" unless $sum == $expected;
Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0, 0);
close $ask_in;
waitpid($worker, 0);
$failure //= "the worker ended with $?" unless $? == 7 << 8;
publish('verdict', defined $failure ? "FAIL $failure\n" : "PASS\n");
