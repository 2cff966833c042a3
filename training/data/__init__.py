"""Where training rows come from: generated shapes and views, published data, sensor model, batches."""
