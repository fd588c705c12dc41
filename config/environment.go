package config

import (
	"errors"
	"fmt"
	"strconv"
)

// ApplyEnvironment overrides settings with their documented variables. Pass
// os.LookupEnv. An empty variable counts as not set. Lists have no variables. The error
// names each variable that must be a boolean, as strconv.ParseBool accepts, and is not;
// it contains no value.
func (c *Config) ApplyEnvironment(lookup func(name string) (string, bool)) error {
	if lookup == nil {
		return errors.New("config: ApplyEnvironment: the function that looks up variables is nil")
	}
	authn, multizone := &c.DPServer.Authn, &c.KMesh.Multizone
	variables := []struct {
		name    string
		setting any
	}{
		{"KUMA_ENVIRONMENT", &c.Environment},
		{"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", &authn.DPProxy.Type},
		{"KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER", &authn.DPProxy.DPToken.EnableIssuer},
		{"KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS", &authn.DPProxy.DPToken.Validator.UseSecrets},
		{"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", &authn.ZoneProxy.Type},
		{"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER", &authn.ZoneProxy.ZoneToken.EnableIssuer},
		{"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS", &authn.ZoneProxy.ZoneToken.Validator.UseSecrets},
		{"KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", &authn.EnableReloadableTokens},
		{"KUMA_DATAPLANE_RUNTIME_TOKEN", &c.DataplaneRuntime.Token},
		{"KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", &c.DataplaneRuntime.TokenPath},
		{"KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", &multizone.Global.KDS.Auth.Type},
		{"KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS", &multizone.Global.KDS.Auth.CPToken.Validator.UseSecrets},
		{"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", &multizone.Zone.KDS.Auth.CPTokenInline},
		{"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", &multizone.Zone.KDS.Auth.CPTokenPath},
	}
	var problems []error
	for _, v := range variables {
		value, _ := lookup(v.name)
		if value == "" {
			continue
		}
		switch setting := v.setting.(type) {
		case *string:
			*setting = value
		case *Secret:
			*setting = NewSecret(value)
		case *bool:
			on, err := strconv.ParseBool(value)
			if err != nil {
				problems = append(problems, fmt.Errorf("config: variable %s is not a boolean, want true or false", v.name))
				continue
			}
			*setting = on
		}
	}
	return errors.Join(problems...)
}
