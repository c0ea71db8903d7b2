"""`agiqa-train fit`: learned prompts and a regression head on a frozen CLIP, by CLIP-AGIQA's protocol.

From a data set (`datasets`) and a split (`splits`), through image features that are computed once
(`features`) or pictures that are cropped anew in every epoch (`augment`), to a run folder
(`run_folder`) that `agiqa-train export-checkpoint --run` and `agiqa-train evaluate --run` read.
"""
