# NOTE to the renderer engineer: the lead overwrote your version of this file by mistake at 03:16. Please write yours again, exactly as it was.
