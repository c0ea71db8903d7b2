"""Writes tokens.jsonl.gz and prompts.json: what CLIP's own tokenizer says.

    python3.11 -m venv venv
    venv/bin/pip install --no-deps --require-hashes -r requirements.lock
    venv/bin/python make_goldens.py

Two published tokenizers must agree on every text before it is written: OpenAI's
(packaged as clip-anytorch) and open_clip's. Neither imports torch here: the one
needs none, the other gets a stand-in for the two functions it calls.

Every text here was written or generated for this file.
"""

import gzip
import html.entities
import importlib.metadata
import importlib.util
import itertools
import json
import pathlib
import platform
import random
import sys
import types
import unicodedata

import ftfy
import numpy

HERE = pathlib.Path(__file__).parent


def load(package: str, file: str):
    """Imports one file of an installed package without the package's __init__."""
    path = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0]) / file
    spec = importlib.util.spec_from_file_location(f"{package}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torch_stand_in():
    torch = types.ModuleType("torch")
    torch.long, torch.Tensor, torch.LongTensor = numpy.int64, numpy.ndarray, numpy.ndarray
    torch.zeros = lambda *shape, dtype: numpy.zeros(shape, dtype)
    torch.tensor = numpy.array
    return torch


sys.modules["torch"] = torch_stand_in()
OPENAI = load("clip", "simple_tokenizer.py").SimpleTokenizer()
OPEN_CLIP = load("open_clip", "tokenizer.py").SimpleTokenizer()
FIX_TEXT = ftfy.fix_text


def encode(tokenizer, text, repair=True):
    """Token ids of text; repair=False leaves out ftfy's repair of mojibake."""
    ftfy.fix_text = FIX_TEXT if repair else (lambda t: FIX_TEXT(t, fix_encoding=False))
    try:
        return [int(i) for i in tokenizer.encode(text)]
    finally:
        ftfy.fix_text = FIX_TEXT


def golden(kind, text):
    """One line: t text, i ids; where they exist, s ids with special tokens,
    m ids without the repair of mojibake, q CLIP's truncated sequence of 77."""
    line = {"k": kind, "t": text, "i": encode(OPEN_CLIP, text)}
    special = encode(OPENAI, text)
    if special != line["i"]:
        if not any(mark in text.lower() for mark in ("startoftext", "endoftext", "ſ")):
            raise SystemExit(f"the tokenizers disagree on {text!r}")
        line["s"] = special
    plain = encode(OPEN_CLIP, text, repair=False)
    if plain != line["i"]:
        line["m"] = plain
    if len(line["i"]) > 75:
        line["q"] = [int(i) for i in OPEN_CLIP(text)[0]]
    return line


SENTENCES = """
a photo of a cat
A highly detailed matte painting of a castle at sunset, trending on art-station, 8K
an astronaut riding a horse, 35mm photograph (masterpiece:1.2), [[blurry]], --ar 16:9 --v 5
It's the artist's dog; they're what we've got. I'm sure you'd see he'll don't
IT'S THE ARTIST'S DOG; THEY'RE WHAT WE'VE GOT. I'M SURE YOU'D SEE HE'LL DON'T
rock'n'roll 'tis o'clock 'sup y'all'd've 's't're've'm'll'd
Le café crème d'été à l'hôtel, où naît l'œuvre çà et là
Ein schöner Fuchs springt über größere Hürden, ẞ und ß
El niño corrió por la mañana; ¿qué pasó? ¡Olé!
Zażółć gęślą jaźń i pójdź, kińże tę chmurność
Příliš žluťoučký kůň úpěl ďábelské ódy
Árvíztűrő tükörfúrógép
Pijamalı hasta yağız şoföre çabucak güvendi. İSTANBUL'DA ILIK DİYARBAKIR
Đi một ngày đàng học một sàng khôn, ưỡn ngực
Þetta er íslenskt orð með ðæö
Съешь же ещё этих мягких французских булок, да выпей чаю
ЩЕДРИЙ ВЕЧІР, ДОБРИЙ ВЕЧІР, ҐАНОК І ЇЖАК
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία
ὍΜΗΡΟΣ ἌΝΔΡΑ ΜΟΙ ἜΝΝΕΠΕ ΜΟΥ͂ΣΑ ΠΟΛΎΤΡΟΠΟΝ ὋΣ ΜΆΛΑ
ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ, ΣΑΣ; Σ ΣΣ ΣΑ. ΑΣ' ΑΣ.Β ΑΣ:
ᾳ ῳ ῇ ᾼ ᾷ
صورة لقط صغير يجلس على النافذة، ١٢٣
اَلْعَرَبِيَّةُ لُغَةٌ جَمِيلَةٌ
گربه‌ای روی دیوار نشسته است ۴۵۶
תמונה של חתול קטן על החלון
שָׁלוֹם עוֹלָם
खिड़की पर बैठी एक बिल्ली की तस्वीर १२३
क्षत्रिय ज्ञानी श्रीमान् क़लम
জানালায় বসে থাকা একটি বিড়ালের ছবি ১২৩
ஜன்னலில் அமர்ந்திருக்கும் பூனை
కిటికీ దగ్గర కూర్చున్న పిల్లి
ಕಿಟಕಿಯ ಮೇಲೆ ಕುಳಿತ ಬೆಕ್ಕು
ജനാലയിൽ ഇരിക്കുന്ന പൂച്ച
ජනේලයේ සිටින පූසෙක්
ภาพแมวตัวเล็กนั่งอยู่ที่หน้าต่าง ๑๒๓
ພາບແມວນ້ອຍ ໑໒໓
ပြတင်းပေါက်မှာ ထိုင်နေတဲ့ ကြောင် ၁၂၃
រូបភាពឆ្មា ១២៣
བྱི་ལའི་པར ༡༢༣
ფანჯარაზე მჯდომი კატა ᲥᲐᲠᲗᲣᲚᲘ
Պատուհանին նստած կատու ԵՐԵՎԱՆ և
ድመት በመስኮት ላይ ፩፪፫
ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꭰꭱꭲ
ᓄᓇᕗᑦ ᐃᓄᒃᑎᑐᑦ
Монгол ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ
窓辺に座っている小さな猫の写真、高画質
ｶﾀｶﾅ ﾊﾞﾊﾟｶﾞ ＡＢＣ１２３！？ カタカナ ひらがな ゔ
坐在窗台上的小猫，超高清，8K，电影感
臺灣的貓坐在窗邊，《名畫》「風格」
창가에 앉아 있는 작은 고양이 사진 ㄱㄴㄷ
ꆈꌠꁱꂷ 𐐀𐐁𐐨 𞤀𞤣𞤤𞤢𞤥 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒞𝓁𝒾𝓅 𝟘𝟙𝟚 ℝ²→ℝ³
😀😃😄 🎨🖼️ cat🐱dog🐶 🏳️‍🌈 👨‍👩‍👧‍👦 👍🏽👍🏿 🇩🇪🇫🇷 1️⃣2️⃣ ❤️‍🔥 🏴󠁧󠁢󠁷󠁬󠁳󠁿
“curly” ‘single’ ‚low‛ „base‟ ‹angle› «guillemets» ʼn rock’n’roll it’s IT’S
ﬁne ﬂuﬃest oﬀer aﬄuent ﬅart la'ﬅ ﬆop Ĳsland ĳs ŉ Ǆ ǅ ǆ Ǉ ǈ ǉ Ǌ ǋ ǌ Ǳ ǲ ǳ æ œ
ｆｕｌｌ　ｗｉｄｔｈ　ｔｅｘｔ，　＜ｔａｇ＞　＆ａｍｐ；　￡￥￦￣
fish &amp; chips &lt;b&gt; &quot;x&quot; &eacute; &#233; &#xE9; &hellip; &notit; &not
<b>bold</b> &amp; &amp;amp; &amp;amp;amp; &lt;i&gt;
&amp;amp;amp;amp;amp;lt;p&amp;gt;
P&EACUTE;REZ BUNDESSTRA&SZLIG;E &NTILDE; &nTILDE; &AMP; &Amp; &AMP;amp;
AT&T R&D Q&A a&b;c &; && &&amp;& &# &#; &#x; &#xg; &x
https://example.org/a/b?c=d&copy=1&lang=en&reg=2#frag user.name+tag@example.org
def f(x): return {'a': [x**2 for x in range(10)]} if x != None else "no" # ok
C:\\path\\to\\file.txt 50% off!!! $9.99 €5 £3 ¥100 ₿1 #hashtag @mention ~tilde^caret_under
1234567890 3.14159 1,000,000 2024-01-31T12:34:56Z 0x1F 1e-9 ½ ¼ ² ³ ① Ⅷ Ⅻ ٣ ३
!!!!????....----____====++++****////\\\\|||| ,;:'"`´¨^~<>()[]{}
e\u0301a\u0300o\u0302\u0323 n\u0303 A\u030a c\u0327\u0301 \u1100\u1161\u11a8 \u1112\u1161\u11ab\uae00 가\u11a8
zero\u200bwidth\u200cnon\u200djoin\u2060er soft\u00adhyphen bom\ufeff left\u200eright\u200f \u202eoverride\u202c
a\tb\nc\rd\r\ne\x0bf\x0cg\x1ch\x1di\x1ej\x1fk\x85l\xa0m\u1680n\u2003o\u2028p\u2029q\u202fr\u205fs\u3000t
\x00nul \x07bell \x08back \x7fdel \x1b[31mred\x1b[0m \x1b[1;32;40mgreen\x1b[m \x1b[ \x1b[1 \x1b]0;title\x07
one <p> line\ntwo &eacute; line\nthree
one &eacute; line\ntwo <p> &eacute;&ldquo; line\nthree &rdquo;&lsquo;
\ufffd replacement \ufff9\ufffa\ufffb\ufffc object \u206a\u206f
Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034dA\u036b\u0357\u0334\u0362\u0335\u031c\u0330\u0354L\u0368\u0367\u0369\u0358\u0320G\u0311\u0357\u030e\u0305\u035b\u0341\u0334\u033b\u0348\u034d\u0354\u0339O
""".strip("\n").split("\n")

# A run of more marks than Go's stream-safe normaliser lets pass.
MARKS = "\u0301\u0327\u0323\u0345\u030a\u0338\u05b0\u05b1\u0f71\u0f72\u0f74\u3099"

WORDS = """a b X s t S 's 'S 're 'LL 've ' " ſ 'ſ 'ﬅ ﬁ Σ ς σ ΑΣ İ I ı é E\u0301 \u0327 \u0323 \u0345 α ά ß ẞ
\u0130\u0307 ŉ ｶﾞ ﾊﾟ ￣ ﾡ 한 하\u11ab \u1112\u1161\u11ab क्ष ไทย 中 😀 👨‍👩‍👧 🇩🇪 👍🏽 𝒜 Ⅷ ½ ² ٣ 1 23 _ - — … ... ™
& &amp; &amp;amp; &lt; &lt < > &# &#x 65 ; &#59; &NTILDE; &SZLIG; &notit; &not &Aacute &nLt; &semi; &nbsp; &quot;
“ ” ‘ ’ ʼ ` \u200b \u200d \ufeff \x00 \x1b[ 31 m \x1b[0m \xa0 \u3000 \u00ad \u180e cat photorealistic http:// x.y </w>""".split(" ")
WORDS = [w.strip("\n") for w in WORDS] + [" ", "  ", "\t", "\n", "\r\n", "\u2028"]


def packed(kind, parts, size=20, joiner=" "):
    parts = list(parts)
    for i in range(0, len(parts), size):
        yield kind, joiner.join(parts[i : i + size])


def assigned():
    """Characters of this Python's Unicode; surrogates and private use left out."""
    return [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]


def texts():
    rand = random.Random(20240828)
    for s in SENTENCES:
        s = s.encode("ascii", "backslashreplace").decode("unicode-escape") if "\\x" in s or "\\u" in s else s
        yield "sentence", s
        for variant in (s.upper(), s.title(), unicodedata.normalize("NFD", s), f"  “{s}” … ", s[::-1], s[: len(s) // 2]):
            yield "variant", variant
    for s in ["", " ", " \t\n\u3000\u2003 ", "\u200b", ".", "!", "'", "''", "'s", "s", "\x00", "\ufeff", "&", "<", "\u0345", "\u0301"]:
        yield "edge", s
    for name in ("terrible", "bad", "poor", "average", "good", "perfect"):
        yield "category", name
        yield "category", name + "."
        yield "category", "X " * 16 + name + "."

    yield from packed("entity", ("x&" + n + "y" for n in html.entities.html5), 12)
    yield from packed("entity", ("&" + n.upper() for n in html.entities.html5 if n.endswith(";")), 12)
    yield from packed("entity", ("<&" + n.rstrip(";") + "z" for n in html.entities.html5), 12)
    codes = [*range(0x180), 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xFDCF, 0xFDD0, 0xFDEF, 0xFDF0, 0xFFFD, 0xFFFE, 0xFFFF,
             0x10000, 0x1FFFE, 0x1FFFF, 0x10FFFE, 0x10FFFF, 0x110000, 10**20]  # fmt: skip
    for form in ("a&#{0};b", "a&#{0}b", "a&#x{0:x};b", "<&#X{0:X};", "&amp;#{0};", "&#00000{0};"):
        yield from packed("reference", (form.format(c) for c in codes), 12)

    known = assigned()
    yield from packed("lower", (c for c in known if c.lower() != c))
    yield from packed("lower", (c.upper() for c in known if c.upper() != c))
    marks = [c for c in known if unicodedata.category(c) in ("Mn", "Me", "Cf", "Lm", "Sk") or c in "':.·"]
    yield from packed("sigma", (f"ΑΣ{c}Α" for c in marks), 40)
    yield from packed("sigma", (f"ΑΣ{c}" for c in marks), 40)
    yield from packed("normal", (unicodedata.normalize("NFD", c) for c in known if unicodedata.decomposition(c)[:1].isalnum()))
    yield from packed("normal", (unicodedata.normalize("NFD", chr(c)) for c in range(0xAC00, 0xD7A4, 97)))
    yield from packed("width", map(chr, range(0xFF01, 0xFFF0)))
    for _, run in itertools.groupby(known, lambda c: unicodedata.category(c)[0]):
        run = list(run)
        yield "class", f"a{run[0]}b{run[-1]}1 !{run[0]}! 1{run[-1]}1"
    for _ in range(300):
        yield "characters", "".join(rand.choice(known) for _ in range(10))
    for _ in range(60):
        yield "marks", "".join(rand.choice(MARKS + "aek") for _ in range(rand.randint(35, 90)))
    for _ in range(1200):
        yield "mixture", "".join(rand.choice(WORDS) for _ in range(rand.randint(2, 12)))
    for letters in ("abcdefghijklmnopqrstuvwxyz", "etaoinshrdlu", "ab", "!?.", "ĐđŁłøß", "中文字"):
        for _ in range(40):
            yield "word", "".join(rand.choice(letters) for _ in range(rand.randint(1, 60)))

    for n in (74, 75, 76, 77, 78, 150):
        yield "long", "cat " * n
        yield "long", "é" * n
    yield "long", "antidisestablishmentarianism" * 20
    yield "long", "a" * 3000
    yield "long", "A painting. " * 60

    for s in ("<|endoftext|>", "<|startoftext|>", "<|ENDOFTEXT|>", "a <|endoftext|> b", "a<|endoftext|>b<|startoftext|>",
              "<|endoftext|", "<|ſtartoftext|>", "&lt;|endoftext|&gt;", "<|<|endoftext|>|>", "x<|end of text|>",
              "'s<|endoftext|>'s", "!<|endoftext|>", "<|endoftext|><|endoftext|>", "<|StartOfText|>cat<|EndOfText|>"):  # fmt: skip
        yield "special", s

    # Letters and digits that Unicode gained after 15.0.
    newer = [0x1C89, 0xA7CB, 0xA7DA, 0x10D4A, 0x10D50, 0x10D40, 0x11380, 0x16100, 0x16D40, 0x1E5D0, 0x2EBF0, 0x323B0]
    for c in map(chr, newer):
        yield "newer", f"a{c}b"
        yield "newer", f"!{c}1"
        yield "newer", c

    good = ["café", "naïve façade", "“quoted” – it’s", "€5 … ™", "Übergröße", "señor", "日本語", "привет", "ελληνικά", "😀 wow"]
    for s in good:
        for codec in ("latin-1", "windows-1252", "windows-1251", "macroman", "cp437"):
            try:
                yield "mojibake", "a photo of " + s.encode("utf-8").decode(codec)
            except UnicodeDecodeError:
                pass


def prompts():
    """CLIP-AGIQA's prompts, with the number of a vector, from -1 down, where one stands."""
    result = []
    names = ["terrible", "bad", "poor", "average", "good", "perfect"]
    odd = ["very_good", "so-so", "good!", "café", "it's fine"]
    for position in ("end", "middle", "front"):
        for count in (1, 2, 4, 5, 16):
            for name in names + odd:
                name = name.replace("_", " ")
                whole = [int(i) for i in OPEN_CLIP("X " * count + name + ".")[0]]
                length = len(encode(OPENAI, name))
                vectors, tail = list(range(-1, -1 - count, -1)), whole[1 + count :]
                half = {"end": count, "middle": count // 2, "front": 0}[position]
                if position == "end":
                    row = whole[:1] + vectors + tail
                else:
                    row = whole[:1] + vectors[:half] + tail[:length] + vectors[half:] + tail[length:]
                result.append({"position": position, "count": count, "name": name, "row": row})
    return result


def main():
    lines = [golden(kind, text) for kind, text in dict.fromkeys(texts())]
    origin = {name: importlib.metadata.version(name) for name in ("clip-anytorch", "open_clip_torch", "ftfy", "regex")}
    origin["python"] = platform.python_version()
    origin["unicodedata"] = unicodedata.unidata_version
    header = {"origin": origin, "lines": len(lines), "mojibake": sum("m" in line for line in lines)}
    with gzip.GzipFile(HERE / "tokens.jsonl.gz", "wb", mtime=0) as f:
        for line in [header, *lines]:
            f.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode("utf-8") + b"\n")
    (HERE / "prompts.json").write_text(json.dumps(prompts(), separators=(",", ":")).replace("},{", "},\n{") + "\n")
    print(json.dumps(header, indent=1))


if __name__ == "__main__":
    main()
