/* rosidl's generated code always includes numpy; messages without arrays of numbers use nothing of it. */
