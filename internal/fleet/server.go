package fleet

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/capfind/capfind/loadgen"
)

// embed starts a NATS server on an address, with its streams in dir, that lets in the
// hub and whoever has the token; the latter may do no more than a worker of this fleet
// has to.
func embed(listen, dir string, s subjects, token loadgen.Secret) (*server.Server, error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("fleet.listen: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("fleet.listen: %q is no port", text)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	cert, err := certificate(token)
	if err != nil {
		return nil, err
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: "capfind-" + string(s), Host: host, Port: port, NoLog: true, NoSigs: true, MaxPayload: mostPayload,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: 2 * (mostOrders + mostSamples), JetStreamMaxMemory: 64 << 20,
		TLS: true, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, TLSTimeout: 10,
		PingInterval: 2 * time.Second, MaxPingsOut: 3,
		Users: []*server.User{
			{Username: "hub", Password: passwordOf(token, "hub")},
			{Username: "worker", Password: passwordOf(token, "worker"), Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{s.of("up", ">"),
					"$JS.API.CONSUMER.INFO." + s.orders() + ".*", "$JS.API.CONSUMER.MSG.NEXT." + s.orders() + ".*", "$JS.ACK." + s.orders() + ".>"}},
				Subscribe: &server.SubjectPermission{Allow: []string{s.of("down", ">"), "_INBOX.>"}},
				Response:  &server.ResponsePermission{MaxMsgs: 1, Expires: 5 * time.Second},
			}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the fleet's NATS server: %w", err)
	}
	go ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		ns.Shutdown()
		return nil, fmt.Errorf("the fleet's NATS server could not listen on %s within 10 s: is the port taken?", listen)
	}
	return ns, nil
}

// port is where an embedded server listens.
func port(ns *server.Server) int {
	if a, ok := ns.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// dial connects to the fleet's server. It goes on trying for as long as it takes where
// the connection is lost later: a hub may be started again.
func dial(address string, token loadgen.Secret, who string, watch func(connected bool, err error)) (*nats.Conn, error) {
	o := []nats.Option{
		nats.Name("capfind " + who), nats.MaxReconnects(-1), nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(3), nats.Timeout(5 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { watch(false, err) }),
		nats.ReconnectHandler(func(*nats.Conn) { watch(true, nil) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { watch(true, err) }),
	}
	shown := redacted(address)
	if u, err := url.Parse(address); err == nil && u.Scheme == scheme {
		u.Scheme, address = "tls", "tls://"+u.Host
		o = append(o, nats.UserInfo(who, passwordOf(token, who)), nats.Secure(pinned(token)))
	}
	nc, err := nats.Connect(address, o...)
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return nil, fmt.Errorf("%s does not know this token: take the line that the deciding process printed last", shown)
	case errors.Is(err, nats.ErrNoServers):
		return nil, fmt.Errorf("nobody takes the connection at %s: is the deciding process running, and its port open? (%w)", shown, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return nc, nil
}

// scheme marks the address of a server that a hub embeds.
const scheme = "capfind"

// redacted is an address without what is secret in it.
func redacted(address string) string {
	var out []string
	for one := range strings.SplitSeq(address, ",") { // of a cluster, several
		u, err := url.Parse(one)
		if err != nil {
			return "the address given"
		}
		u.User = nil
		out = append(out, u.String())
	}
	return strings.Join(out, ",")
}
