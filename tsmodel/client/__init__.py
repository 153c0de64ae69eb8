"""The TStorage client under the official client's module names: replace `tstorage_client` by `tsmodel.client`."""
