package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/insecure"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/zone"
)

// ProxyAuthenticator is the dataplane.Authenticator of a configuration. It is safe for
// concurrent use. [Config.NewProxyAuthenticator] makes one.
type ProxyAuthenticator struct {
	dataplane.Authenticator

	// Validator is the validator of the type dpToken, for readiness and the use of
	// keys. It is nil for other types.
	Validator dataplane.Validator
}

// Close closes the validator, if there is one, which ends its sessions; see
// dataplane.Validator. It always returns nil and may be called more than once. The
// caller closes an authenticator for service accounts.
func (a *ProxyAuthenticator) Close() error {
	if a.Validator == nil {
		return nil
	}
	return a.Validator.Close()
}

// An Option is an option of [Config.NewProxyAuthenticator].
type Option func(*authenticatorOptions) error

type authenticatorOptions struct {
	log             *slog.Logger
	serviceAccounts func() (dataplane.Authenticator, error)
	validator       []dataplane.ValidatorOption
}

// WithLogger sets the logger, also for the validator; the default is slog.Default().
// For the type none, NewProxyAuthenticator logs "proxies are not authenticated" at
// Warn.
func WithLogger(log *slog.Logger) Option {
	return func(o *authenticatorOptions) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil")
		}
		o.log = log
		return nil
	}
}

// WithObserver adds an observer of the validator of the type dpToken, for metrics; see
// dataplane.WithObserver. Issuers and the other validators take it as one of their options.
func WithObserver(o observe.Observer) Option { return WithValidatorOptions(dataplane.WithObserver(o)) }

// WithServiceAccounts sets the function that makes the authenticator for the type
// serviceAccountToken, such as the one of package dataplane/serviceaccount. It is
// called only for that type.
func WithServiceAccounts(create func() (dataplane.Authenticator, error)) Option {
	return func(o *authenticatorOptions) error {
		if create == nil {
			return errors.New("WithServiceAccounts: the function is nil")
		}
		o.serviceAccounts = create
		return nil
	}
}

// WithValidatorOptions adds options for the validator of the type dpToken, for
// features without a setting.
func WithValidatorOptions(options ...dataplane.ValidatorOption) Option {
	return func(o *authenticatorOptions) error {
		o.validator = append(o.validator, options...)
		return nil
	}
}

// NewProxyAuthenticator returns the authenticator for data plane proxies. For the type
// dpToken it has a validator that follows the store until Close. For
// serviceAccountToken it is the one of [WithServiceAccounts]. For none it accepts every
// proxy. Only dpToken needs a store. The validator reads files of public keys again when
// they change.
//
// For the type dpToken, meshpass.kumaVersion says what tokens are compared with: for 3.x
// the boundary is dataplane.AsKuma30; for 2.13.10, 2.14.2 and what came later in 2.13 and
// 2.14 it is dataplane.AsKuma214, and for other versions of 2 dataplane.AsKuma210. A
// dataplane.WithBoundary in [WithValidatorOptions] takes precedence. Without a version the
// validator has the default boundary.
//
// The error is from [Config.Check], or about the arguments.
func (c Config) NewProxyAuthenticator(store keystore.KeyStore, options ...Option) (*ProxyAuthenticator, error) {
	o := authenticatorOptions{log: slog.Default()}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("config: an option is nil")
		}
		if err := option(&o); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	l, err := c.load()
	if err != nil {
		return nil, err
	}
	switch c.DPProxyType() {
	case TypeServiceAccountToken:
		if o.serviceAccounts == nil {
			return nil, fmt.Errorf("config: %s.type: %s needs an authenticator of package dataplane/serviceaccount; pass it with WithServiceAccounts",
				entryDPProxy, TypeServiceAccountToken)
		}
		authenticator, err := o.serviceAccounts()
		if err != nil {
			return nil, fmt.Errorf("config: %s.type: %s: %w", entryDPProxy, TypeServiceAccountToken, err)
		}
		if authenticator == nil {
			return nil, fmt.Errorf("config: %s.type: %s: the function of WithServiceAccounts returned nil", entryDPProxy, TypeServiceAccountToken)
		}
		return &ProxyAuthenticator{Authenticator: authenticator}, nil
	case TypeNone:
		o.log.Warn("proxies are not authenticated", "setting", entryDPProxy+".type", "type", TypeNone)
		return &ProxyAuthenticator{Authenticator: insecure.Authenticator{}}, nil
	}
	validator, err := dataplane.NewValidator(store, slices.Concat(
		[]dataplane.ValidatorOption{dataplane.WithLogger(o.log)}, l.version.boundary(), l.dataplanes, o.validator)...)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", entryDPProxy, err)
	}
	return &ProxyAuthenticator{dataplane.NewAuthenticator(validator), validator}, nil
}

// NewDataplaneIssuer returns the issuer of dataplane tokens. It signs with the keys of
// the store. If dpServer.authn.dpProxy.dpToken.enableIssuer is false, it issues nothing.
// With meshpass.maxLineage it also renews; a dataplane.WithMaxLineage in options takes
// precedence. The error is from [Config.Check], or about the arguments.
//
// It reads the store for each token. A process that issues many gives it the validator of
// its [ProxyAuthenticator]: see dataplane.WithValidator. That is an error unless the type is
// dpToken and useSecrets is true, since no other validator follows the keys of the store.
func (c Config) NewDataplaneIssuer(store keystore.KeyStore, options ...dataplane.IssuerOption) (dataplane.Issuer, error) {
	l, err := c.load()
	if err != nil {
		return nil, err
	}
	if l.maxLineage > 0 {
		options = append([]dataplane.IssuerOption{dataplane.WithMaxLineage(l.maxLineage)}, options...)
	}
	if !c.DPServer.Authn.DPProxy.DPToken.EnableIssuer {
		return dataplane.NewDisabledIssuer(options...)
	}
	return dataplane.NewIssuer(store, options...)
}

// NewZoneIssuer returns the issuer of zone tokens. It signs with the keys of the store.
// If multizone.global.kds.auth.zoneToken.enableIssuer or
// dpServer.authn.zoneProxy.zoneToken.enableIssuer is false, it issues nothing. With
// meshpass.maxLineage it also renews; a zone.WithMaxLineage in options takes precedence.
// The error is from [Config.Check], or about the arguments. It reads the store for each token:
// see zone.WithValidator.
func (c Config) NewZoneIssuer(store keystore.KeyStore, options ...zone.IssuerOption) (zone.Issuer, error) {
	l, err := c.load()
	if err != nil {
		return nil, err
	}
	if l.maxLineage > 0 {
		options = append([]zone.IssuerOption{zone.WithMaxLineage(l.maxLineage)}, options...)
	}
	if !c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer || !c.DPServer.Authn.ZoneProxy.ZoneToken.EnableIssuer {
		return zone.NewDisabledIssuer(options...)
	}
	return zone.NewIssuer(store, options...)
}

// NewZoneProxyValidator returns the validator of the zone tokens of zone proxies, for
// scopes such as ingress and egress. It follows the store, and files of public keys,
// until it is closed. The error is from [Config.Check], is about the
// arguments, says that [Config.ZoneProxyType] is not zoneToken, or that
// meshpass.kumaVersion is 3.0 or later, where zone proxies have dataplane tokens.
func (c Config) NewZoneProxyValidator(store keystore.KeyStore, options ...zone.ValidatorOption) (zone.Validator, error) {
	l, err := c.load()
	if err != nil {
		return nil, err
	}
	if l.version.major == 3 {
		return nil, fmt.Errorf("config: %s: in Kuma %s zone proxies authenticate like other proxies; use NewProxyAuthenticator", entryZoneProxy, l.version)
	}
	return newZoneValidator(entryZoneProxy, c.ZoneProxyType(), store, slices.Concat(l.zoneProxies, options))
}

// NewKDSValidator returns the validator of the zone tokens of control planes, for
// zone.ScopeCP. It follows the store, and files of public keys, until it is closed. The
// error is from [Config.Check], is about the arguments, or says that
// multizone.global.kds.auth.type is not zoneToken: then every zone control plane would
// be accepted, and the program must decide whether to serve at all.
func (c Config) NewKDSValidator(store keystore.KeyStore, options ...zone.ValidatorOption) (zone.Validator, error) {
	l, err := c.load()
	if err != nil {
		return nil, err
	}
	return newZoneValidator(entryKDSServer, c.Multizone.Global.KDS.Auth.Type, store, slices.Concat(l.kds, options))
}

func newZoneValidator(entry, is string, store keystore.KeyStore, options []zone.ValidatorOption) (zone.Validator, error) {
	switch is {
	case TypeZoneToken:
	case "":
		return nil, fmt.Errorf("config: %s.type is not set, so there is nothing to validate; set it to %s", entry, TypeZoneToken)
	default:
		return nil, fmt.Errorf("config: %s.type: %s uses no zone tokens, so there is nothing to validate", entry, is)
	}
	validator, err := zone.NewValidator(store, options...)
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", entry, err)
	}
	return validator, nil
}
