# Redis.pm: commands, a pipeline, a transaction, messages, a script. Usage: perl smoke.pl PORT
use strict;
use warnings;

unless (eval { require Redis; 1 }) {
    print "skipped, all is well: Redis.pm is not installed\n";
    exit;
}

sub check {
    my ($holds, $what) = @_;
    $holds or do { print "failed: $what\n"; exit 1 };
}

my $server = "127.0.0.1:$ARGV[0]";
my $r = Redis->new(server => $server);
check($r->set(key => 'value') eq 'OK' && $r->get('key') eq 'value', 'strings');
check(!defined $r->get('none'), 'nothing');
$r->hmset('h', a => 1, b => 2);
my %h = $r->hgetall('h');
check($h{a} == 1 && $h{b} == 2 && keys %h == 2, 'hashes');
my @replies;
$r->incr('n', sub { push @replies, $_[0] }) for 1 .. 500;
$r->wait_all_responses;
check("@replies" eq join(' ', 1 .. 500), 'a pipeline');
$r->multi;
$r->set(k => 'v');
$r->get('k');
@replies = $r->exec;
check("@replies" eq 'OK v', 'a transaction');
my @script = $r->eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'a');
@script = @{ $script[0] } if ref $script[0];
check("@script" eq 'k a', 'a script');
check(!eval { $r->lpush('key', 'x'); 1 } && $@ =~ /WRONGTYPE/, 'an error');
check($r->info->{redis_version} =~ /^7\./, 'INFO');
my $heard = '';
my $listener = Redis->new(server => $server);
$listener->subscribe('channel', sub { $heard = $_[0] });
$r->publish('channel', 'hello');
$listener->wait_for_messages(5) until $heard;
check($heard eq 'hello', 'a message');
print "Redis.pm $Redis::VERSION: all is well\n";
