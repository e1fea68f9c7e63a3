"""Evaluate predictors: predict every clip, measure every scored step, publish unit by unit.

Predictors, a protocol and a source of clips come in. Complete result folders go out, and predictions or pictures where
someone asked for them. A run can stop anywhere: the next process skips the units that are published.
"""
