package simulate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"

	"github.com/agiqa/agiqa/evaluation"
)

// The scale of opinions, as in AGIQA-3K.
const (
	Lowest  = 0.0
	Highest = 5.0
)

// Image is what people think of one image.
type Image struct {
	MOS float64 // mean opinion, Lowest to Highest
	SD  float64 // standard deviation of single opinions
}

// Population is what images are drawn from.
type Population []Image

// quantiles of the columns mos_quality and std_quality of AGIQA-3K's data.csv, at
// 0, 5, 10, ... 100 %. The two columns are nearly independent (r = 0.08).
func quantiles() (mos, sd []float64) {
	return []float64{
			0, 0.705, 0.92, 1.127, 1.42, 1.792, 2.1, 2.31, 2.479, 2.626, 2.734,
			2.837, 2.942, 3.046, 3.151, 3.263, 3.38, 3.507, 3.644, 3.822, 4.489,
		}, []float64{
			0.108, 0.28, 0.343, 0.385, 0.418, 0.445, 0.474, 0.501, 0.526, 0.553, 0.579,
			0.607, 0.636, 0.665, 0.697, 0.731, 0.768, 0.82, 0.88, 0.985, 1.452,
		}
}

// Synthetic draws images whose opinions have the quantiles of AGIQA-3K.
func Synthetic(images int, seed uint64) Population {
	random := stream(seed, 0)
	mos, sd := quantiles()
	p := make(Population, images)
	for i := range p {
		p[i] = Image{MOS: evaluation.Quantile(mos, random.Float64()), SD: evaluation.Quantile(sd, random.Float64())}
	}
	return p
}

// ReadAGIQA3K reads the dataset's data.csv: the columns mos_quality and
// std_quality, found by their names.
func ReadAGIQA3K(file io.Reader) (Population, error) {
	rows := csv.NewReader(file)
	header, err := rows.Read()
	if err != nil {
		return nil, fmt.Errorf("AGIQA-3K: %w", err)
	}
	mos, sd := -1, -1
	for i, name := range header {
		switch name {
		case "mos_quality":
			mos = i
		case "std_quality":
			sd = i
		}
	}
	if mos < 0 || sd < 0 {
		return nil, errors.New("AGIQA-3K: no columns mos_quality and std_quality")
	}
	var p Population
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("AGIQA-3K: %w", err)
		}
		image, err := imageOf(row[mos], row[sd])
		if err != nil {
			return nil, fmt.Errorf("AGIQA-3K: image %d: %w", len(p)+1, err)
		}
		p = append(p, image)
	}
	if len(p) == 0 {
		return nil, errors.New("AGIQA-3K: no image")
	}
	return p, nil
}

func imageOf(mos, sd string) (Image, error) {
	m, err := strconv.ParseFloat(mos, 64)
	if err != nil {
		return Image{}, err
	}
	s, err := strconv.ParseFloat(sd, 64)
	if err != nil {
		return Image{}, err
	}
	if !(m >= Lowest && m <= Highest) || !(s >= 0 && s <= Highest) {
		return Image{}, fmt.Errorf("opinion %v with deviation %v is not on the scale", m, s)
	}
	return Image{MOS: m, SD: s}, nil
}

// draw picks an image.
func (p Population) draw(random *rand.Rand) Image { return p[random.IntN(len(p))] }

// stream is the source of one run, apart from those of other runs and seeds.
func stream(seed, run uint64) *rand.Rand {
	var key [32]byte
	for i := range 8 {
		key[i], key[8+i] = byte(seed>>(8*i)), byte(run>>(8*i))
	}
	return rand.New(rand.NewChaCha8(key))
}
