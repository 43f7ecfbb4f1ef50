/* rosidl's generated code always includes numpy, but messages without numeric arrays use nothing from it. */
