package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/token"
)

const proxyHost, thiefHost = "10.0.0.1", "6.6.6.6"

// from presents a token from a host. It returns the renewed token, or for how long to wait.
func (o *office) from(host, raw, body string) (renewed string, wait time.Duration, status int) {
	o.t.Helper()
	o.host = host
	defer func() { o.host = "" }()
	answer, text := o.over(o.kind, raw, body)
	synctest.Wait() // until the validator knows what the operator's function has revoked
	if answer.StatusCode == http.StatusOK {
		return text, 0, answer.StatusCode
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return "", time.Duration(seconds) * time.Second, answer.StatusCode
}

// proxyRenews is a proxy that renews its token of an hour once some of that has passed, as late as a
// renewal.Keeper does. It returns no token if it gets none before the old one has expired.
func (o *office) proxyRenews(raw string) string {
	expires := claimsOf(o.t, raw).ExpiresAt
	for time.Now().Before(expires) {
		renewed, wait, status := o.from(proxyHost, raw, "")
		if status != http.StatusTooManyRequests {
			return renewed
		}
		time.Sleep(min(wait, time.Until(expires)/2) + time.Second)
	}
	return ""
}

func TestAThiefWhoTakesEachTurnToRenewIsNoticedBeforeTheTokenExpires(t *testing.T) {
	testKey(0)
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for _, begins := range []time.Duration{0, 31 * time.Minute, 40*time.Minute - 2*time.Second} { // the last is as late as possible
			synctest.Test(t, func(t *testing.T) {
				o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, revokes: true})
				stolen := o.issue(time.Hour)
				expires := claimsOf(t, stolen).ExpiresAt
				time.Sleep(begins)
				var thiefs []string
				for time.Now().Before(expires) {
					renewed, _, status := o.from(thiefHost, stolen, "")
					if status == http.StatusUnauthorized {
						break
					}
					if renewed != "" {
						thiefs = append(thiefs, renewed) // and presents none
					}
					// The proxy comes a second later, whenever it is.
					time.Sleep(time.Second)
					_, wait, status := o.from(proxyHost, stolen, "")
					if status == http.StatusUnauthorized {
						break
					}
					require.Equal(t, http.StatusTooManyRequests, status, "the thief keeps the proxy out")
					time.Sleep(wait)
				}
				assert.True(t, time.Now().Before(expires), "it was noticed in time")
				require.Len(t, o.forks, 1)
				assert.Equal(t, fork{true, 3, thiefHost + ":1234", thiefHost + ":1234", claimsOf(t, stolen).NotBefore.Add(5 * time.Minute)}, o.forks[0])
				require.GreaterOrEqual(t, len(thiefs), 2)
				require.LessOrEqual(t, len(thiefs), 3, "the third is refused if the validator knows already")
				for _, raw := range append(thiefs, stolen) {
					_, err := o.validate(raw)
					require.ErrorIs(t, err, token.ErrRevoked)
					_, _, status := o.from(thiefHost, raw, "")
					assert.Equal(t, http.StatusUnauthorized, status)
				}
			})
		}
	}
}

func TestAThiefWhoLeavesATurnToTheProxyIsNoticedToo(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for _, turns := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, revokes: true})
				stolen := o.issue(time.Hour)
				time.Sleep(40*time.Minute - time.Second)
				var thiefs string
				for range turns {
					var status int
					thiefs, _, status = o.from(thiefHost, stolen, "")
					require.Equal(t, http.StatusOK, status)
					time.Sleep(6 * time.Minute)
				}
				proxys := o.proxyRenews(stolen)
				if turns == 1 { // such as after a lost answer
					require.NotEmpty(t, proxys)
					require.Empty(t, o.forks)
					time.Sleep(30 * time.Minute)
					_, err := o.validate(proxys)
					require.NoError(t, err)
					_, err = o.validate(thiefs)
					require.NoError(t, err)
					synctest.Wait()
					require.Len(t, o.forks, 1, "the thief's token is the earlier one")
					assert.Zero(t, o.forks[0].Repeated)
				} else {
					require.Len(t, o.forks, 1, "it was renewed for the third time")
					assert.Equal(t, 3, o.forks[0].Repeated)
					assert.Equal(t, []string{proxyHost + ":1234", thiefHost + ":1234"}, []string{o.forks[0].Address, o.forks[0].LaterAddress})
				}
				_, err := o.validate(thiefs)
				require.ErrorIs(t, err, token.ErrRevoked)
			})
		}
	}
}

func TestAThiefWhoRenewsAsOftenAsTheProxyIsNoticedThoughEachTokenIsLaterThanTheOneBefore(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, revokes: true})
			stolen := o.issue(time.Hour)
			time.Sleep(25 * time.Minute)
			thiefs, _, status := o.from(thiefHost, stolen, "")
			require.Equal(t, http.StatusOK, status)
			time.Sleep(12 * time.Minute)
			proxys := o.proxyRenews(stolen) // as after a lost answer
			require.NotEmpty(t, proxys)
			time.Sleep(15 * time.Minute)
			thiefs, _, status = o.from(thiefHost, thiefs, "")
			require.Equal(t, http.StatusOK, status)
			require.Empty(t, o.forks)
			time.Sleep(15 * time.Minute)
			o.from(proxyHost, proxys, "")
			require.Len(t, o.forks, 1)
			assert.Equal(t, fork{false, 0, proxyHost + ":1234", thiefHost + ":1234", claimsOf(t, thiefs).NotBefore.Add(5 * time.Minute)}, o.forks[0])
			_, err := o.validate(thiefs)
			assert.ErrorIs(t, err, token.ErrRevoked)
		})
	}
}

func TestAThiefWhoRenewsEachNewTokenInTurnIsNoticedHoweverShortItLives(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for _, lifetime := range []time.Duration{time.Minute, 2 * time.Minute, 10 * time.Minute, time.Hour} {
			for _, each := range []int{1, 2} { // how often the thief renews each
				synctest.Test(t, func(t *testing.T) {
					o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, revokes: true})
					stolen := o.issue(lifetime)
					time.Sleep(lifetime / 2)
					thiefs, turns := stolen, 0
					for len(o.forks) == 0 {
						require.Less(t, turns, 3)
						renewed, _, status := o.from(thiefHost, thiefs, "")
						require.Equal(t, http.StatusOK, status)
						if turns++; turns%each == 0 {
							thiefs = renewed
						}
						time.Sleep(time.Second)
						_, wait, status := o.from(proxyHost, stolen, "") // which is too early
						require.Equal(t, http.StatusTooManyRequests, status)
						time.Sleep(wait)
					}
					_, _, status := o.from(thiefHost, thiefs, "")
					assert.Equal(t, http.StatusUnauthorized, status)
				})
			}
		}
	}
}

func TestAThiefWhoseAttemptsFailDoesNotKeepTheProxyFromRenewing(t *testing.T) {
	const denied = 59 * time.Minute
	r := rules{maxLineage: 90 * 24 * time.Hour, deny: func(validFor time.Duration) bool { return validFor == denied }}
	r.authorize = func(r *http.Request, what httpapi.Request) (string, error) {
		if what.ValidFor == 58*time.Minute {
			return "", httpapi.Denied("not that long")
		}
		return "renewal", nil
	}
	attempts := map[string]struct {
		body   string
		status int
		shared bool // also from the host of the proxy, such as a load balancer
	}{
		"for too long":              {`{"validFor":"61m"}`, http.StatusBadRequest, true},
		"a body that is none":       {`{`, http.StatusBadRequest, true},
		"the authoriser refuses it": {`{"validFor":"58m"}`, http.StatusForbidden, true},
		"the policy refuses it":     {`{"validFor":"59m"}`, http.StatusForbidden, false},
	}
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for name, c := range attempts {
			for _, host := range []string{thiefHost, proxyHost} {
				if host == proxyHost && !c.shared {
					continue
				}
				t.Run(string(kind)+"/"+name+"/"+host, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o := openOffice(t, kind, r)
						stolen := o.issue(time.Hour)
						for range 10 {
							_, _, status := o.from(host, stolen, c.body)
							require.Contains(t, []int{c.status, http.StatusTooManyRequests}, status)
						}
						_, _, status := o.from(proxyHost, stolen, "")
						assert.Equal(t, http.StatusOK, status)
					})
				})
			}
		}
		t.Run(string(kind)+"/the thief goes away", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := openOffice(t, kind, r)
				stolen := o.issue(time.Hour)
				gone, leave := context.WithCancel(t.Context())
				leave()
				for range 10 {
					request := httptest.NewRequestWithContext(gone, http.MethodPost, "/tokens/"+string(kind)+"/renew", nil)
					request.RemoteAddr = thiefHost + ":1"
					request.Header.Set("Authorization", stolen)
					recorder := httptest.NewRecorder()
					o.handler.ServeHTTP(recorder, request)
					require.NotEqual(t, http.StatusOK, recorder.Code)
				}
				_, _, status := o.from(proxyHost, stolen, "")
				assert.Equal(t, http.StatusOK, status)
			})
		})
	}
}

// Each attempt fails, so it takes no turn, but while one runs no other of the id does. From one
// host there is one a second, so the thief has many.
func TestAThiefWhoseAttemptsFromManyHostsTakeLongDoesNotKeepTheProxyFromRenewing(t *testing.T) {
	const denied = 59 * time.Minute
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, deny: func(validFor time.Duration) bool {
				time.Sleep(100 * time.Millisecond)
				return validFor == denied
			}})
			stolen := o.issue(time.Hour)
			ask := func(host, body string) int {
				request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tokens/"+string(kind)+"/renew", strings.NewReader(body))
				request.RemoteAddr = host + ":1"
				request.Header.Set("Authorization", stolen)
				request.Header.Set("Content-Type", "application/json")
				recorder := httptest.NewRecorder()
				o.handler.ServeHTTP(recorder, request)
				return recorder.Code
			}
			var thief sync.WaitGroup
			var refused atomic.Int32
			for host := range 30 {
				thief.Go(func() {
					time.Sleep(time.Duration(host) * 90 * time.Millisecond) // before the one before is refused
					if ask(fmt.Sprintf("6.6.6.%d", host), `{"validFor":"59m"}`) == http.StatusForbidden {
						refused.Add(1)
					}
				})
			}
			time.Sleep(time.Second)
			assert.Equal(t, http.StatusOK, ask(proxyHost, `{"validFor":"1h"}`), "it waits for its turn")
			thief.Wait()
			assert.Greater(t, refused.Load(), int32(8))
		})
	}
}

// As where an operator lowers the maximum and restarts what renews, whose tokens are longer.
func TestAProxyThatDropsWhatExpiresSoonerThanItsTokenDoesNotLookLikeAThief(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for _, thief := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: time.Hour, revokes: true})
				raw := o.issue(24 * time.Hour)
				expires := claimsOf(t, raw).ExpiresAt
				time.Sleep(16 * time.Hour)
				for range 3 {
					renewed, _, status := o.from(proxyHost, raw, "")
					require.Equal(t, http.StatusOK, status)
					require.True(t, claimsOf(t, renewed).ExpiresAt.Before(expires), "so it is dropped")
					time.Sleep(2 * time.Hour)
				}
				require.Empty(t, o.forks)
				for thief && len(o.forks) == 0 && time.Now().Before(expires) { // takes each turn
					o.from(thiefHost, raw, "")
					time.Sleep(6 * time.Minute)
				}
				if thief {
					require.Len(t, o.forks, 1)
					assert.Equal(t, 3, o.forks[0].Repeated)
					assert.True(t, time.Now().Before(expires))
					return
				}
				time.Sleep(time.Until(expires) - time.Hour + time.Second)
				renewed, _, status := o.from(proxyHost, raw, "")
				require.Equal(t, http.StatusOK, status)
				assert.True(t, claimsOf(t, renewed).ExpiresAt.After(expires))
				assert.Empty(t, o.forks)
			})
		}
	}
}

// A turn is a tenth of a lifetime. The proxy's token has one of an hour.
func TestAThiefWithALongerTokenOfTheLineageTakesNoLongerTurns(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: 24 * time.Hour})
			stolen := o.issue(time.Hour)
			thiefs, _, status := o.from(thiefHost, stolen, `{"validFor":"24h"}`)
			require.Equal(t, http.StatusOK, status)
			time.Sleep(6 * time.Minute)
			_, _, status = o.from(thiefHost, thiefs, `{"validFor":"24h"}`)
			require.Equal(t, http.StatusOK, status)
			time.Sleep(24 * time.Minute)
			assert.NotEmpty(t, o.proxyRenews(stolen))
		})
	}
}
