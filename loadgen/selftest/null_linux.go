package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// NullServer streams tokens at the times that each request asks for, and nothing
// else. It is one thread on bare sockets, so that it costs little beside the
// system calls, and what it costs is known apart from the client's share of the
// process.
type NullServer struct {
	address string
	listen  int
	epoll   int
	stop    atomic.Bool
	done    sync.WaitGroup
	cpu     atomic.Int64 // ns of the thread
	late    atomic.Int64 // ns, the latest that an event was

	conns []*nullConn // by file descriptor
	// wheel holds the streams by the millisecond of their next event, modulo its
	// length.
	wheel [1024][]*nullConn
	tick  int64 // the last millisecond that was dealt with
	began time.Time
	busy  int // streams under way
}

// nullConn is one connection and the stream on it.
type nullConn struct {
	fd      int
	in      []byte // request bytes so far
	order   order
	sent    int           // tokens
	due     time.Duration // of the next event, from began
	pending []byte        // not yet taken by the socket
}

// StartNull starts a null server on a loopback port.
func StartNull() (*NullServer, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("null server: %w", err)
	}
	s := &NullServer{listen: fd, began: time.Now()}
	if err := s.open(); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("null server: %w", err)
	}
	s.done.Go(s.run)
	return s, nil
}

func (s *NullServer) open() error {
	if err := syscall.Bind(s.listen, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := syscall.Listen(s.listen, 4096); err != nil {
		return err
	}
	name, err := syscall.Getsockname(s.listen)
	if err != nil {
		return err
	}
	in4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return errors.New("not an IPv4 socket")
	}
	s.address = net.JoinHostPort("127.0.0.1", fmt.Sprint(in4.Port))
	if s.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	return s.watch(s.listen)
}

func (s *NullServer) watch(fd int) error {
	return syscall.EpollCtl(s.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

// Address is the host and port to connect to.
func (s *NullServer) Address() string { return s.address }

// CPU is the processor time that the server has used; false where it cannot be
// told from the rest of the process.
func (s *NullServer) CPU() (time.Duration, bool) { return time.Duration(s.cpu.Load()), true }

// Late is the most that an event was sent after its time.
func (s *NullServer) Late() time.Duration { return time.Duration(s.late.Load()) }

// Close ends the server and its connections.
func (s *NullServer) Close() {
	s.stop.Store(true)
	s.done.Wait()
}

// run is the server's one thread.
func (s *NullServer) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events := make([]syscall.EpollEvent, 256)
	accounted := time.Now()
	for !s.stop.Load() {
		wait := 20 // milliseconds
		if s.busy > 0 {
			wait = 1
		}
		n, err := syscall.EpollWait(s.epoll, events, wait)
		if err != nil && err != syscall.EINTR {
			break
		}
		for i := range max(n, 0) {
			if fd := int(events[i].Fd); fd == s.listen {
				s.accept()
			} else {
				s.receive(s.conns[fd])
			}
		}
		s.sendDue()
		if now := time.Now(); now.Sub(accounted) > 5*time.Millisecond {
			accounted = now
			s.account()
		}
	}
	for _, c := range s.conns {
		if c != nil {
			syscall.Close(c.fd)
		}
	}
	syscall.Close(s.listen)
	syscall.Close(s.epoll)
}

// account notes the processor time of this thread.
func (s *NullServer) account() {
	const rusageThread = 1
	var used syscall.Rusage
	if syscall.Getrusage(rusageThread, &used) == nil {
		s.cpu.Store(used.Utime.Nano() + used.Stime.Nano())
	}
}

func (s *NullServer) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listen, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return // none left, or no descriptors: the client will find out
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if s.watch(fd) != nil {
			syscall.Close(fd)
			continue
		}
		for len(s.conns) <= fd {
			s.conns = append(s.conns, nil)
		}
		s.conns[fd] = &nullConn{fd: fd}
	}
}

func (s *NullServer) drop(c *nullConn) {
	if s.conns[c.fd] != c {
		return
	}
	s.conns[c.fd] = nil
	syscall.Close(c.fd)
	if c.order.tokens > 0 {
		c.order.tokens = 0 // the wheel forgets it when it comes by
		s.busy--
	}
}

// receive reads request bytes and starts a stream once a request is whole.
func (s *NullServer) receive(c *nullConn) {
	if c == nil {
		return
	}
	var buf [16 << 10]byte
	n, err := syscall.Read(c.fd, buf[:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || n == 0 {
		s.drop(c)
		return
	}
	c.in = append(c.in, buf[:n]...)
	body, whole := wholeBody(c.in)
	if !whole {
		return
	}
	o, ok := parseOrder(body)
	if !ok || c.order.tokens > 0 {
		s.drop(c)
		return
	}
	c.in = c.in[:0]
	c.order, c.sent = o, 0
	s.busy++
	s.schedule(c, time.Since(s.began)+o.ttft)
}

// wholeBody returns the body of the request in b; false while it is incomplete.
func wholeBody(b []byte) ([]byte, bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, false
	}
	length, ok := field(b[:end], "Content-Length: ")
	body := b[end+4:]
	return body, ok && len(body) >= length
}

// schedule puts c's next event into the wheel.
func (s *NullServer) schedule(c *nullConn, due time.Duration) {
	c.due = due
	at := max(due.Milliseconds(), s.tick+1) % int64(len(s.wheel))
	s.wheel[at] = append(s.wheel[at], c)
}

// sendDue sends every event whose millisecond has come.
func (s *NullServer) sendDue() {
	now := time.Since(s.began)
	last := now.Milliseconds()
	from := max(s.tick, last-int64(len(s.wheel)))
	for s.tick = from; s.tick < last; {
		at := (s.tick + 1) % int64(len(s.wheel))
		streams := s.wheel[at]
		s.wheel[at] = nil
		s.tick++
		for _, c := range streams {
			switch {
			case c.order.tokens == 0:
			case c.due > now:
				s.schedule(c, c.due) // of a later turn of the wheel
			default:
				s.late.Store(max(s.late.Load(), int64(now-c.due)))
				s.send(c)
			}
		}
	}
}

// send writes c's next event and schedules the one after it.
func (s *NullServer) send(c *nullConn) {
	if len(c.pending) > 0 {
		if !s.write(c, nil) {
			return
		}
		if len(c.pending) > 0 { // the client is not reading
			s.schedule(c, c.due+time.Millisecond)
			return
		}
	}
	if c.sent < c.order.tokens {
		payload := tokenChunk
		if c.sent == 0 {
			payload = firstChunk(c.order.n, time.Now())
		}
		if !s.write(c, payload) {
			return
		}
		if c.sent++; c.sent == c.order.tokens && !s.write(c, endChunk(c.order.tokens)) {
			return
		}
	}
	if c.sent < c.order.tokens || len(c.pending) > 0 {
		s.schedule(c, c.due+c.order.gap)
		return
	}
	c.order.tokens = 0
	s.busy--
}

// write hands b to the socket, behind what it did not take before; false where
// the connection is gone.
func (s *NullServer) write(c *nullConn, b []byte) bool {
	if len(c.pending) > 0 {
		b = append(c.pending, b...)
	}
	for len(b) > 0 {
		n, err := syscall.Write(c.fd, b)
		switch err {
		case nil:
			b = b[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.pending = append([]byte(nil), b...)
			return true
		default:
			s.drop(c)
			return false
		}
	}
	c.pending = nil
	return true
}
