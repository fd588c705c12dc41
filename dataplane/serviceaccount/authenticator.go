package serviceaccount

import (
	"context"
	"errors"

	"github.com/meshpass/meshpass/dataplane"
)

// NewAuthenticator returns an authenticator with which a server takes service
// account tokens in place of dataplane tokens. podOf looks up the Pod that runs a
// proxy, as the control plane knows it; an error matches token.ErrNotPermitted if
// there is none, and token.ErrUnavailable if that is not known. It is called for
// each request that describes the proxy, also concurrently, and should answer from
// memory, such as an informer's.
//
// The error is about the arguments. The validator stays the caller's to close.
func NewAuthenticator(validator *Validator, podOf func(dataplane.Proxy) (Pod, error)) (dataplane.Authenticator, error) {
	if validator == nil {
		return nil, errors.New("serviceaccount: NewAuthenticator: the validator is nil")
	}
	if podOf == nil {
		return nil, errors.New("serviceaccount: NewAuthenticator: the function that looks up Pods is nil")
	}
	return authenticator{validator, podOf}, nil
}

type authenticator struct {
	validator *Validator
	podOf     func(dataplane.Proxy) (Pod, error)
}

func (a authenticator) Authenticate(ctx context.Context, credential string) (dataplane.Session, error) {
	verified, err := a.validator.Validate(ctx, credential)
	if err != nil {
		return nil, err
	}
	return proxySession{verified, a.podOf}, nil
}

// proxySession holds proxies, and not Pods, against a token.
type proxySession struct {
	Verified
	podOf func(dataplane.Proxy) (Pod, error)
}

func (s proxySession) Permits(proxy dataplane.Proxy) error {
	pod, err := s.podOf(proxy)
	if err != nil {
		return err
	}
	return s.Verified.Permits(pod)
}
