//go:build !amd64

package imageprep

func fastestPasses() passes { return portable{} }

type packedAxis struct{}

func packAxis(*axis) *packedAxis { return nil }
