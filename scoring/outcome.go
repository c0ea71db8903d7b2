package scoring

import (
	"context"
)

// results copies the outcome of each subject to the items that it stands for.
func (w *work) results() []ImageResult {
	out := make([]ImageResult, len(w.request.Items))
	for i, item := range w.request.Items {
		out[i] = ImageResult{ID: item.ID, Err: item.Err}
		s := w.byItem[i]
		if s == nil {
			continue
		}
		out[i].Info, out[i].Decoder, out[i].Err = s.Info, s.decoder, s.err
		if s.err != nil {
			continue
		}
		if out[i].Err = everyFault(s.judged); out[i].Err != nil {
			continue
		}
		out[i].Embedding, out[i].EmbeddingCached = s.embedding, s.cached
		out[i].Verdicts = make([]Verdict, len(w.request.Checkpoints))
		for k, c := range w.request.Checkpoints {
			v := Verdict{Checkpoint: c, Err: s.judged[k].err, TextCached: w.panel != nil || w.texts[k].cached}
			if v.Err == nil { // nobody finds a number that is none
				v.Judgement = s.judged[k].Judgement
			}
			out[i].Verdicts[k] = v
		}
	}
	return out
}

// everyFault returns the first error where there is nothing but errors.
func everyFault(all []judged) error {
	for _, j := range all {
		if j.err == nil {
			return nil
		}
	}
	return all[0].err
}

func (w *work) count(ctx context.Context) {
	for i, s := range w.byItem {
		switch {
		case s == nil:
			w.service.telemetry.countImage(ctx, "", w.request.Items[i].Err)
		case s.err != nil:
			w.service.telemetry.countImage(ctx, s.Info.Format, s.err)
		default:
			w.service.telemetry.countImage(ctx, s.Info.Format, everyFault(s.judged))
		}
	}
}
