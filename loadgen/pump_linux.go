//go:build linux && (amd64 || arm64)

package loadgen

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// pumps read from many sockets on few goroutines. Go's poller wakes a goroutine
// for each event of each stream, and waking costs more than reading; a pump waits
// on an epoll instance that holds many sockets, takes in all that have something,
// and hands what it reads to whoever waits for it. The instance is itself watched
// by Go's poller, so that a waiting pump holds no thread.
type pumps struct {
	mu     sync.Mutex
	all    []*pump
	taken  int // sockets so far
	closed bool
}

// pump is one epoll instance and the goroutine that serves it.
type pump struct {
	file *os.File
	raw  syscall.RawConn
	done chan struct{}

	mu      sync.Mutex
	sockets []*socket // by file descriptor
}

const (
	pumpShare  = 128 // sockets that a pump is given before another is
	pumpBatch  = 256 // events taken in at once
	pumpBuffer = 16 << 10

	// Each change of a socket is told once: with something to read, room to write,
	// or an end.
	pumpEvents = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31 // EPOLLET
)

// take moves a connection from Go's poller to a pump. On an error it is closed.
func (p *pumps) take(c net.Conn, control func(network, address string, c syscall.RawConn) error) (net.Conn, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return c, nil
	}
	defer c.Close()
	s := &socket{local: c.LocalAddr(), remote: c.RemoteAddr(), ready: make(chan struct{}, 1)}
	if err := s.copy(sc); err != nil {
		return nil, err
	}
	var err error
	if control != nil {
		err = control(s.remote.Network(), s.remote.String(), s.raw)
	}
	if err == nil {
		s.pump, err = p.next()
	}
	if err == nil {
		err = s.pump.add(s)
	}
	if err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

// next returns the pump for one more socket. A few streams stay together, as
// waking costs the most of them; many are spread over half the processors.
func (p *pumps) next() (*pump, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	n := p.taken / pumpShare % max(1, runtime.GOMAXPROCS(0)/2)
	if n >= len(p.all) {
		one, err := startPump()
		if err != nil {
			return nil, err
		}
		n, p.all = len(p.all), append(p.all, one)
	}
	p.taken++
	return p.all[n], nil
}

// close ends the pumps. No socket may be in use.
func (p *pumps) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, one := range p.all {
		one.file.Close()
		<-one.done
	}
	p.all = nil
}

func startPump() (*pump, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // else Go's poller would not watch it
		syscall.Close(fd)
		return nil, err
	}
	p := &pump{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{})}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

func (p *pump) run() {
	defer close(p.done)
	h := &harvest{events: make([]syscall.EpollEvent, pumpBatch), sockets: make([]*socket, pumpBatch), in: borrowReceiver(make([]byte, pumpBuffer))}
	defer h.in.giveBack()
	// LOUD: one call of Read for as long as the pump lives, which waits each time that this
	// returns false. Whatever happens meanwhile is told of again, so that nobody has to look
	// whether there is nothing left, a system call each time; between two calls of Read it
	// would be forgotten.
	_ = p.raw.Read(func(epoll uintptr) bool {
		for p.serve(epoll, h) == pumpBatch {
		}
		return false
	}) // until it is closed
}

// harvest is what a pump takes in at once.
type harvest struct {
	events  []syscall.EpollEvent
	sockets []*socket
	in      *receiver
}

// serve tells up to pumpBatch sockets that something happened, and returns how many.
func (p *pump) serve(epoll uintptr, h *harvest) int {
	// It never blocks, so that the scheduler need not be told, and nothing interrupts it.
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&h.events[0])), pumpBatch, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	p.mu.Lock()
	for i := range int(n) {
		h.sockets[i] = p.sockets[h.events[i].Fd]
	}
	p.mu.Unlock()
	for i, s := range h.sockets[:n] {
		if s != nil { // else closed meanwhile
			s.happened(h.in, h.events[i].Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0)
		}
		h.sockets[i] = nil
	}
	return int(n)
}

func (p *pump) add(s *socket) error {
	var fd int
	if err := s.raw.Control(func(at uintptr) { fd = int(at) }); err != nil {
		return err
	}
	p.mu.Lock()
	for len(p.sockets) <= fd {
		p.sockets = append(p.sockets, nil)
	}
	p.sockets[fd] = s
	p.mu.Unlock()
	s.fd = fd
	err := net.ErrClosed
	if closed := p.raw.Control(func(epoll uintptr) {
		err = os.NewSyscallError("epoll_ctl", syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: pumpEvents, Fd: int32(fd)}))
	}); closed != nil || err != nil {
		p.forget(s)
	}
	return err
}

// forget is called before a socket's descriptor is closed, and so before another
// socket can have its number.
func (p *pump) forget(s *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets[s.fd] = nil
}

// socket is a connection at a pump. One goroutine at a time reads or writes; any
// may close it.
type socket struct {
	pump          *pump
	file          *os.File // the socket, blocking as far as Go's poller is told: every call says that it must not wait
	raw           syscall.RawConn
	fd            int
	local, remote net.Addr
	ready         chan struct{} // that something happened
	closed        atomic.Bool
	deadline      time.Time // of reads

	mu     sync.Mutex
	reader reader // that the pump's goroutine calls; nil: the owner reads
}

// copy gives s a descriptor of its own, which Go's poller does not know.
func (s *socket) copy(c syscall.Conn) error {
	theirs, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	var fd uintptr
	if err := theirs.Control(func(at uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, at, syscall.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return err
	}
	if errno != 0 {
		return os.NewSyscallError("fcntl", errno)
	}
	if err := syscall.SetNonblock(int(fd), false); err != nil {
		syscall.Close(int(fd))
		return os.NewSyscallError("fcntl", err)
	}
	s.file = os.NewFile(fd, "socket")
	s.raw, err = s.file.SyscallConn()
	return err
}

// happened is called by the pump when the socket has something to tell; ended says
// that no more will come.
func (s *socket) happened(in *receiver, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil && !s.closed.Load() {
		if s.reader.read(in, ended) {
			return
		}
		s.reader = nil
	}
	s.wake()
}

func (s *socket) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // it knows already
	}
}

// push lets the pump read until the reader says that there is no more to come, or the
// socket is closed.
func (s *socket) push(r reader) error {
	if over, err := s.begin(r); over || err != nil {
		return err
	}
	for {
		<-s.ready
		s.mu.Lock()
		over, closed := s.reader == nil, s.closed.Load()
		if closed {
			s.reader = nil
		}
		s.mu.Unlock()
		switch {
		case over:
			return nil
		case closed:
			return net.ErrClosed
		}
	}
}

// begin reads what was told of before, and leaves the rest to the pump unless that was
// all.
func (s *socket) begin(r reader) (over bool, err error) {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	in := borrowReceiver(*buf)
	defer in.giveBack()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return true, net.ErrClosed
	}
	if over = !r.read(in, true); !over {
		s.reader = r
	}
	return over, nil
}

// await waits until something happened.
func (s *socket) await() error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	if s.deadline.IsZero() {
		<-s.ready
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), s.deadline)
	defer cancel()
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return os.ErrDeadlineExceeded
	}
}

// Control calls f with the descriptor; it is not closed meanwhile.
func (s *socket) Control(f func(fd uintptr)) error {
	if err := s.raw.Control(f); err != nil {
		return net.ErrClosed
	}
	return nil
}

// rawRead calls f until it is done, waiting in between, for reads and writes alike.
func (s *socket) rawRead(f func(fd uintptr) bool) error {
	for {
		done := false
		if err := s.Control(func(fd uintptr) { done = f(fd) }); err != nil || done {
			return err
		}
		if err := s.await(); err != nil {
			return err
		}
	}
}

// SyscallConn returns the socket for calls of its own.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return rawSocket{s}, nil }

type rawSocket struct{ *socket }

func (r rawSocket) Read(f func(fd uintptr) bool) error  { return r.rawRead(f) }
func (r rawSocket) Write(f func(fd uintptr) bool) error { return r.rawRead(f) }

// Write writes all of p.
func (s *socket) Write(p []byte) (int, error) {
	sent := 0
	var failed error
	for sent < len(p) && failed == nil {
		err := s.rawRead(func(fd uintptr) bool {
			n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[sent])), uintptr(len(p)-sent), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
			switch errno {
			case 0:
				sent += int(n)
			case syscall.EAGAIN:
				return false
			case syscall.EINTR:
			default:
				failed = &net.OpError{Op: "write", Net: s.remote.Network(), Addr: s.remote, Err: os.NewSyscallError("sendto", errno)}
			}
			return true
		})
		if err != nil {
			return sent, err
		}
	}
	return sent, failed
}

// Read reads without a stamp; stampConn reads by itself.
func (s *socket) Read(p []byte) (n int, err error) {
	failed := s.rawRead(func(fd uintptr) bool {
		n, _, err = syscall.Recvfrom(int(fd), p, syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, os.NewSyscallError("recvfrom", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Close closes the socket; whoever waits for it finds out.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	s.pump.forget(s)
	s.mu.Lock() // else the pump would read from whatever gets the number next
	err := s.file.Close()
	s.mu.Unlock()
	s.wake()
	return err
}

func (s *socket) LocalAddr() net.Addr  { return s.local }
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// SetReadDeadline bounds reads that begin later.
func (s *socket) SetReadDeadline(t time.Time) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	s.deadline = t
	return nil
}

// SetDeadline is SetReadDeadline: requests are bounded by closing.
func (s *socket) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline does nothing, for the same reason.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
