package config

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// Bytes is an amount of memory.
type Bytes int64

// String writes the amount in the largest binary unit that divides it: 20MiB.
func (b Bytes) String() string {
	for _, u := range []struct {
		suffix string
		factor Bytes
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if b >= u.factor && b%u.factor == 0 {
			return strconv.FormatInt(int64(b/u.factor), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

var byteUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

// ParseBytes reads a whole number with an optional unit: B, kB, MB, GB, KiB,
// MiB or GiB.
func ParseBytes(text string) (Bytes, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is not an amount such as 20MiB or 500000", text)
	}
	return Bytes(n * factor), nil
}

// Secret is a text that is never printed.
type Secret string

// String hides the value, so that a %v of the settings shows no password.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(set)"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// Peers are networks of callers.
type Peers []netip.Prefix

// ParsePeers reads true (everybody), false (nobody), or addresses and networks
// separated by commas.
func ParsePeers(text string) (Peers, error) {
	if everybody, err := strconv.ParseBool(text); err == nil || text == "" {
		if !everybody {
			return nil, nil
		}
		return Peers{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}, nil
	}
	networks, err := ParseNetworks(text)
	if err != nil {
		return nil, fmt.Errorf("neither true nor false, and %w", err)
	}
	return Peers(networks), nil
}

// Networks are networks of machines.
type Networks []netip.Prefix

// ParseNetworks reads addresses and networks separated by commas.
func ParseNetworks(text string) (Networks, error) {
	var networks Networks
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		network, err := netip.ParsePrefix(item)
		if address, addressErr := netip.ParseAddr(item); addressErr == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no address or network such as 10.0.0.0/8", item)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}
