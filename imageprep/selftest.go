package imageprep

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"path"

	"github.com/agiqa/agiqa/quality"
)

// selfTestFiles are a few of the goldens in internal/testimages: one for each
// thing that decoders of different versions do differently.
//
//go:embed selftest
var selfTestFiles embed.FS

// selfTestCase is a file, and the SHA-256 of what Pillow makes of it: of
// convert("RGB"), and of the 224x224 pixels.
type selfTestCase struct{ name, rgb, out string }

// selfTestCases is compared by a test with what make_goldens.py recorded.
func selfTestCases() []selfTestCase {
	return []selfTestCase{
		{"gif-part-gray.gif", "6d739f8ffec101b36b5b7f79fbede11c756d619fa7f98769f38e20b4ca554c9b",
			"5d79335fa7014a52cf8d1e074ccd5ff03529278a394571b42fd2268dc12badfa"},
		{"jpeg-420-progressive.jpg", "4d0aadf0eb447183a7b73444bca43b04640057a19e7c569b01d1d0c670252432",
			"ded96002b9a05d96abb7cc0121edbf37cd74396cabb1e578d2a449bdadab36c3"},
		{"jpeg-420.jpg", "4d0aadf0eb447183a7b73444bca43b04640057a19e7c569b01d1d0c670252432",
			"ded96002b9a05d96abb7cc0121edbf37cd74396cabb1e578d2a449bdadab36c3"},
		{"jpeg-422.jpg", "da9b2242b06cdb81cec23b2b3d46635092fe32182cdece379d60aaaa292ff41f",
			"026134ee9c5df33623e9b49ae11dcfeaeb3bec0ef1c37a72140483d2b84e0bcd"},
		{"jpeg-440.jpg", "a10f5362332e72c2d66e203950e07f48b2097aec4e1add62f2a93e769d3dd79a",
			"dc3044a3c74398f9ef2eff961c46b0a70d2d7b546e94f0e454f9caaaf386027f"},
		{"jpeg-444-restart.jpg", "364f1e09636c9e41157bffbd40c8171601fede1ff888709d9c247329513decd1",
			"a55a6d3d57d448d4d9ec32936bc336e66a1fee910116184c95ea6d8437b3d2d3"},
		{"jpeg-cmyk-adobe0-420.jpg", "01721317e2beaf2b28878cd6d06ebfcb690f39f18f47080c8c4016ae060afa99",
			"195e59786d7f0b60f2d7f56d27036acc9305d820083e2fb048b1a15ea70f9e04"},
		{"jpeg-gray.jpg", "8c84a639de3c1f66998084387bc415983d330876687202ca1d36b57bb4543f05",
			"ab25569c6046d054e84a6856190f1e537883220acaa6982af8d75777e65323fd"},
		{"png-palette4-trns.png", "255e1c28216e41df86b4eb6d67e09b2b6287135cea8c403e923c7d4ab2f9679c",
			"2e651ddf130b42c27de23111b08dcee5e71fdcfdda6b2b60d4cb3296d18d11aa"},
		{"png-rgb8.png", "15439fcd85a30afbccfdf4a271220dc6b89b45f6cac30ad70d5849df45339715",
			"cdb252f5730fb55e20d547f39df6cb86e018d9a1a9152cc5c9b2a58e1f85cd5d"},
		{"webp-animated-offset.webp", "2bfa9f41121bfdf4fff271c121605f0d8b763c529f625fa0179f8c6bfa0a7675",
			"03e1a0aeaa70f68daa03dd1512b3c7002d6e5c5df4994bebbc1deea91788d86a"},
		{"webp-lossless-palette.webp", "1ad6cab5254f3fbf2d42bd09e993bc5b9ce415cb31085acc0aea369f06468f1f",
			"2d150bff00f7ad8ce82ce9b257a18402eca3e37c78bdc1412e484397f40cb6c3"},
		{"webp-lossy-61x45.webp", "f7c4c9d90b4f730627ae70c6d3902716e054945b5c2247e2565063ada2971a6a",
			"d2cff700492342fd3fc2cb5f1baae4b3e076b19c3f56413b118f48482da06641"},
	}
}

// A tall picture, which the recipes resize differently, and the SHA-256 of its
// 224x224 pixels by each. A test compares them with what make_orders.py recorded.
const recipeTestWidth, recipeTestHeight = 225, 459

var recipeTestSums = map[quality.Recipe]string{
	quality.Pillow12: "ef83c71223a95a2d912622c4db877437a0d6b6b6a10b7f5297ec0714265edbd0",
	quality.Pillow13: "d7ed860d5165991a185d519fe66f008c7d27adf68f47ee3bf87383c3ca31c953",
}

// SelfTest decodes a few embedded pictures of every format and compares the
// pixels, at full size and after the resize, with Pillow's, and those of a tall
// picture by every recipe. It takes some milliseconds. The error names the
// decoder or the recipe that is off.
func (p *Preparer) SelfTest(ctx context.Context) error {
	for _, c := range selfTestCases() {
		if err := p.testOne(ctx, c); err != nil {
			return err
		}
	}
	return p.testRecipes(ctx)
}

func (p *Preparer) testRecipes(ctx context.Context) error {
	tall := RGB{Width: recipeTestWidth, Height: recipeTestHeight}
	for y := range tall.Height {
		for x := range tall.Width {
			tall.Pix = append(tall.Pix, byte(7*x+3*y), byte(x*y/5), byte((x/3)^(y/2)))
		}
	}
	for _, recipe := range quality.Recipes() {
		out, err := p.resizer.cut(ctx, tall, []quality.View{quality.View{}.By(recipe)})
		if err != nil {
			return err
		}
		if got := sha256.Sum256(out[0]); hex.EncodeToString(got[:]) != recipeTestSums[recipe] {
			return fmt.Errorf("recipe %s: the resampler produces different pixels than Pillow", recipe)
		}
	}
	return nil
}

func selfTestFile(name string) []byte {
	data, err := selfTestFiles.ReadFile(path.Join("selftest", name))
	if err != nil {
		panic(err) // a name in the table without its file: no build like that passes its tests
	}
	return data
}

// testOne knows no limits: they are the caller's, the pictures are not.
func (p *Preparer) testOne(ctx context.Context, c selfTestCase) error {
	data := selfTestFile(c.name)
	h, err := Sniff(data)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	img, err := p.decode(ctx, data, h, 1)
	if err != nil {
		return fmt.Errorf("the %s decoder, %s: %w", h.Format, c.name, err)
	}
	defer release(img)
	w, ht := img.size()
	row, sum := make([]byte, 3*w), sha256.New()
	for y := range ht {
		img.row(y, row)
		sum.Write(row)
	}
	if hex.EncodeToString(sum.Sum(nil)) != c.rgb {
		return fmt.Errorf("the %s decoder produces different pixels than Pillow for %s", h.Format, c.name)
	}
	out, err := p.resizer.cut(ctx, img, []quality.View{{}})
	if err != nil {
		return err
	}
	if got := sha256.Sum256(out[0]); hex.EncodeToString(got[:]) != c.out {
		return fmt.Errorf("the resampler produces different pixels than Pillow for %s", c.name)
	}
	return nil
}
