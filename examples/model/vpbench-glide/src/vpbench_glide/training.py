# vpbench-glide/src/vpbench_glide/training.py
import lightning
import torch
import vpbench


class Forecasting(lightning.LightningModule):
    """Predict the future of each clip, and compare it with the truth."""

    def __init__(self, predictor):
        super().__init__()
        self.predictor = predictor  # its state_dict becomes the weights
        self.recipe = vpbench.Recipe(epochs=20, batch_size=8, learning_rate=4e-3)

    def training_step(self, batch, index):
        future = batch.future.frames
        predicted = self.predictor(batch.context.frames, future.shape[1])
        return torch.nn.functional.mse_loss(predicted, future)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.recipe.learning_rate)
