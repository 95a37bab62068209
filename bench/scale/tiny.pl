# The smallest server that a hub takes for a notebook: answers anything with {}.
#
# With --report it is one of batchspawner's: takes a port of its own and tells the hub.
use strict;
use Socket;

my $report = grep { $_ eq '--report' } @ARGV;
my ($port) = ($ENV{JUPYTERHUB_SERVICE_URL} || "http://x:$ENV{PORT}/") =~ m{:(\d+)/};
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1);
bind($listener, sockaddr_in($report ? 0 : $port, INADDR_ANY)) or die "bind: $!";
listen($listener, 128) or die "listen: $!";

if ($report) {
    ($port) = sockaddr_in(getsockname($listener));
    my ($host, $at, $path) = $ENV{JUPYTERHUB_API_URL} =~ m{^http://([^:/]+):(\d+)(/.*)} or die "no API";
    my $body = "{\"port\": $port}";
    socket(my $hub, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
    connect($hub, sockaddr_in($at, inet_aton($host))) or die "connect: $!";
    syswrite($hub, "POST $path/batchspawner HTTP/1.0\r\nHost: $host:$at\r\n"
        . "Authorization: token $ENV{JUPYTERHUB_API_TOKEN}\r\nContent-Type: application/json\r\n"
        . "Content-Length: " . length($body) . "\r\n\r\n$body");
    sysread($hub, my $answer, 65536);
    die "the hub said $answer" unless $answer =~ m{^HTTP/1\.\d 2};
    close($hub);
}

while (accept(my $caller, $listener)) {
    sysread($caller, my $request, 65536);
    syswrite($caller, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
        . "Content-Length: 2\r\nConnection: close\r\n\r\n{}");
    close($caller);
}
