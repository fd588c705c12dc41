package config_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/internal/test/kumacases"
)

// The cases of Kuma's tests of the settings of KDS authentication.
func TestTheCasesOfKumasOwnTestsOfKDSSettingsAreAsTheDocumentSays(t *testing.T) {
	outcomes := map[string]kumacases.Outcome{}
	global := func(id string, kuma bool, kdsType string) {
		c, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0", "KUMA_MODE", "global", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", kdsType))
		if err == nil {
			validator, made := c.NewKDSValidator(newStore(t))
			if err = made; err == nil {
				defer validator.Close()
			}
		}
		outcomes[id] = kumacases.Outcome{Kuma: kuma, Meshpass: err == nil}
	}
	global("G1", true, "zoneToken")
	global("G2", true, "none")
	global("G3", false, "")
	global("G4", false, "konnect")
	global("G5", false, "zonetoken")

	ofZone := offlineZoneToken(t, "west", "cp")
	file := inFile(t, offlineZoneToken(t, "west", "cp")+"\n")
	zone := func(id string, kuma bool, settings ...string) {
		c, err := config.Read(nil, variables(append(settings, "MESHPASS_KUMA_VERSION", "3.0", "KUMA_MODE", "zone",
			"KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://global:5685")...))
		if auth := c.Multizone.Zone.KDS.Auth; err == nil && len(settings) == 4 {
			require.Equal(t, file, auth.TokenPath, "the path counts")
		}
		outcomes[id] = kumacases.Outcome{Kuma: kuma, Meshpass: err == nil}
	}
	const inlineToken, tokenPath = "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH"
	zone("G6", true)
	zone("G7", true, inlineToken, " "+ofZone+"\n")
	zone("G8", true, tokenPath, file)
	zone("G9", true, inlineToken, ofZone, tokenPath, file)
	zone("G10", false, tokenPath, "../../etc/token")
	folder := filepath.Dir(file)
	zone("G11", true, tokenPath, folder+"/../"+filepath.Base(folder)+"/"+filepath.Base(file))

	kumacases.Check(t, "../docs/kuma.md", "G", outcomes)
}
