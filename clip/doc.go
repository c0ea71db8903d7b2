// Package clip turns text into what CLIP's text encoder takes: it holds CLIP's
// byte-pair tokenizer and assembles the prompts of a CLIP-AGIQA checkpoint.
//
//	text ─Clean─▶ cleaned text ─split─▶ words ─byte pairs─▶ token ids
//	learned vectors + category names ─Assemble─▶ [quality.Prompts]
//
// A token id is worth exactly as much as its agreement with the tokenizer that
// CLIP was trained with, so the package follows that one (OpenAI's
// SimpleTokenizer, which calls ftfy 6.3 and Python's html.unescape) character
// by character and is held against its output by goldens (testdata/README.md
// has the numbers). It departs from it in five places, four of them on purpose:
//
//   - ftfy's repair of mojibake (text decoded with the wrong encoding, as in
//     "cafÃ©") is left out. It is a statistical guess made of several hundred
//     rules, it changes text that was meant, and its cost is hard to bound. The
//     one part of it that works on a single character, C1 control characters
//     read as Windows-1252, is here.
//   - "<|startoftext|>" and "<|endoftext|>" in a text are ordinary characters
//     unless [Options].SpecialTokens asks for CLIP's reading of them: otherwise
//     a stranger's text could end itself early.
//   - Texts that are not valid UTF-8, are longer than [MaxTextBytes], or hide
//     characters behind more than [MaxEscapeDepth] layers of HTML escapes are
//     refused.
//   - A decimal character reference of more than 4300 digits, on which Python
//     raises an error, is U+FFFD, as any other beyond Unicode is.
//   - What is a letter or a digit is decided by Go's Unicode tables, which may be
//     older than those of the Python package that CLIP asks.
//
// The package refuses to know about images, models and networks. It stands
// between quality, which defines [quality.Prompts], and checkpoint, which owns
// the learned vectors.
package clip
