"""Register the predictor glide; its code is imported when it is first used."""

import vpbench


@vpbench.hookimpl
def register_predictors(register):
    register(
        "glide",
        "vpbench_glide.predictor:Glide",
        summary="a learned residual of the last frame",
        trainer="vpbench_glide.predictor:stages",
    )
