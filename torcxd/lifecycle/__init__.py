"""The core: decides, and never does. It opens no file and no socket, imports no trio, and reads no clock."""
