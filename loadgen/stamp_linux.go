//go:build linux && (amd64 || arm64)

package loadgen

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// stampConn is a socket whose reads say when the data arrived: by the kernel's
// receive stamp (SO_TIMESTAMPNS), which a busy process cannot delay, and by the
// moment after the read. It sits below TLS.
type stampConn struct {
	net.Conn
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once, so that a read allocates nothing
	once func(fd uintptr)      // the same
	none bool                  // nothing was there
	msg  syscall.Msghdr
	iov  syscall.Iovec
	oob  [64]byte
	n    int
	err  syscall.Errno

	kernel int64     // the stamp of the latest read, ns since 1970; 0 without one
	after  time.Time // the moment after the latest read, on both clocks
}

const sizeofStamp = syscall.SizeofCmsghdr + 16 // a control header and a timespec

// newStampConn asks the kernel to stamp what c receives. Where it cannot, or c
// is no socket, reads are stamped by the moment after them.
func newStampConn(c net.Conn) *stampConn {
	s := &stampConn{Conn: c}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return s
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return s
	}
	// LOUD: a kernel that stamps nothing (some sandboxes), or a socket that was closed just
	// now, is read in the same way all the same: a pump reads without waiting, and for that
	// there is this way only.
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMPNS, 1)
	})
	s.raw = raw
	s.msg.Iov = &s.iov
	s.msg.Iovlen = 1
	s.read = s.receive
	s.once = func(fd uintptr) { s.none = !s.receive(fd) }
	return s
}

// receive is one attempt to read; false means that there is nothing yet.
//
// It never blocks, so the system call need not tell the scheduler.
func (s *stampConn) receive(fd uintptr) bool {
	for {
		s.msg.Control = &s.oob[0]
		s.msg.SetControllen(len(s.oob))
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&s.msg)), syscall.MSG_DONTWAIT)
		if errno == syscall.EINTR {
			continue
		}
		s.n, s.err = int(n), errno
		return errno != syscall.EAGAIN
	}
}

// Read reads into p and notes when the data arrived. Where one read takes in
// several packets the stamp is the last one's.
func (s *stampConn) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		n, err := s.Conn.Read(p)
		s.after = time.Now()
		return n, err
	}
	s.into(p)
	err := s.raw.Read(s.read)
	return s.got(err)
}

// attempt is Read without waiting: the error is errAgain where nothing is there.
func (s *stampConn) attempt(p []byte) (int, error) {
	s.into(p)
	err := s.raw.Control(s.once)
	if err == nil && s.none {
		s.iov.Base = nil
		return 0, errAgain
	}
	return s.got(err)
}

func (s *stampConn) into(p []byte) {
	s.iov.Base = &p[0]
	s.iov.SetLen(len(p))
}

// got is what a read brought, and notes when.
func (s *stampConn) got(err error) (int, error) {
	s.iov.Base = nil
	s.after = time.Now()
	s.kernel = 0
	switch {
	case err != nil:
		return 0, err
	case s.err != 0:
		return 0, &net.OpError{Op: "read", Net: "tcp", Addr: s.RemoteAddr(), Err: os.NewSyscallError("recvmsg", s.err)}
	case s.n == 0:
		return 0, io.EOF
	}
	s.kernel = s.stamp()
	return s.n, nil
}

// stamp reads the receive stamp from the control data; 0 where there is none.
func (s *stampConn) stamp() int64 {
	if s.msg.Controllen < sizeofStamp {
		return 0
	}
	header := (*syscall.Cmsghdr)(unsafe.Pointer(&s.oob[0]))
	if header.Level != syscall.SOL_SOCKET || header.Type != syscall.SO_TIMESTAMPNS || header.Len < sizeofStamp {
		return 0
	}
	at := s.oob[syscall.SizeofCmsghdr:]
	return int64(binary.NativeEndian.Uint64(at))*int64(time.Second) + int64(binary.NativeEndian.Uint64(at[8:]))
}
