package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/capfind/capfind/loadgen"
)

// NewToken draws what a fleet has in common: whoever has it may join.
func NewToken() loadgen.Secret {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return loadgen.Secret(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])))
}

// keyOf is the key of the server's certificate. It follows from the token, so that a
// worker which knows the token knows whether it talks to the server of its fleet, and a
// hub that is started again is still the same.
func keyOf(token loadgen.Secret) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("capfind fleet key " + token.Reveal()))
	return ed25519.NewKeyFromSeed(seed[:])
}

// passwordOf is what a worker shows to the server, and not the token itself, which would
// give the key of the server away.
func passwordOf(token loadgen.Secret, who string) string {
	sum := sha256.Sum256([]byte("capfind fleet " + who + " " + token.Reveal()))
	return base32.StdEncoding.EncodeToString(sum[:])
}

// certificate makes the server's certificate.
func certificate(token loadgen.Secret) (tls.Certificate, error) {
	key := keyOf(token)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "capfind fleet"},
		// The clock of a load machine may be wrong; the key is what is checked.
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(100, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// pinned checks a server by the key that follows from the token.
func pinned(token loadgen.Secret) *tls.Config {
	want := keyOf(token).Public().(ed25519.PublicKey)
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // by name and issuer: the key is checked below, which is stricter
		VerifyConnection: func(s tls.ConnectionState) error {
			if got, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey); !ok || !want.Equal(got) {
				return errors.New("the server is not that of this fleet: another token, or somebody in between")
			}
			return nil
		},
	}
}
